"""A graph from two tables of one's own: nodes with their features, and edges between them.

`nodes`: a column of ids; if they are there one of labels (empty: not known) and one of splits. Every other column is a
feature: of numbers (an empty cell is the column's mean), or, if none of its values is one, of categories, a feature
each. `edges`: columns of the ids at both ends, or without a header the first two; if it is named a weight; every other
column is a number, a feature of the edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.source import Source
from unlocked.data.files.text_rows import TextRows, located, read_rows
from unlocked.data.graphs.arrays import NONE, Graph
from unlocked.errors import DataError

MOST_CATEGORIES = 200  # of a column that is not named as one of categories
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Columns:
    """What the columns are called, and what is done with them. `held`: no features, but asked for by name."""

    id: str = "id"
    label: str = "label"
    split: str | None = None
    source: str = "source"
    target: str = "target"
    weight: str | None = None
    categories: Sequence[str] = ()
    ignore: Sequence[str] = ()
    held: Sequence[str] = ()
    separator: str = ""


@dataclass(frozen=True)
class Encoding:
    """How columns of nodes become features: of numbers by what stands for an empty cell, of categories by their names,
    each in the order of the table."""

    columns: Mapping[str, float | list[str]] = field(default_factory=dict)

    @property
    def features(self) -> list[str]:
        return [
            name if isinstance(kind, float) else f"{name}={each}"
            for name, kind in self.columns.items()
            for each in ([None] if isinstance(kind, float) else kind)
        ]

    def encoded(self, rows: TextRows) -> np.ndarray:
        """`(rows, features)`. Raises `DataError`, with the line, for a cell that is no number or no known category."""
        parts = [np.zeros((len(rows.rows), 0), np.float32)]
        for name, kind in self.columns.items():
            cells = rows.column(name)
            if isinstance(kind, float):
                parts.append(_numbers(rows, name, cells, kind)[:, None])
                continue
            known = {each: i for i, each in enumerate(kind)}
            strange = next((i for i, cell in enumerate(cells) if cell and cell not in known), None)
            if strange is not None:
                raise rows.refuse(strange, f"{name} is {cells[strange]!r}, which no node had in training")
            part = np.zeros((len(cells), len(kind)), np.float32)
            there = [i for i, cell in enumerate(cells) if cell]
            part[there, [known[cells[i]] for i in there]] = 1.0
            parts.append(part)
        return np.concatenate(parts, 1)


@dataclass(frozen=True)
class Tables:
    """What the two tables hold: a graph in one direction, labels by node (empty: not known), `split` (empty: in none)
    and `held` by column."""

    graph: Graph
    weights: np.ndarray | None
    ids: list[str]
    nodes: TextRows
    labels: list[str] | None
    split: list[str] | None
    encoding: Encoding
    edge_features: list[str]

    @property
    def y(self) -> tuple[np.ndarray | None, list[str]]:
        """Class ids, and their names in order; numbers in their own."""
        if self.labels is None:
            return None, []
        names = sorted(set(self.labels) - {""}, key=_in_order)
        number = {name: i for i, name in enumerate(names)}
        return np.array([number.get(label, NONE) for label in self.labels], np.int64), names


def tables_in(folder: Path) -> tuple[Path, Path]:
    """The files nodes and edges of a folder, whatever their ending. Raises `DataError` if there is not one of each."""
    found = []
    for name in ("nodes", "edges"):
        files = sorted(each for each in folder.glob(f"{name}.*") if each.is_file())
        if len(files) != 1:
            listed = f" ({', '.join(each.name for each in files)})" if files else ""
            raise DataError(
                f"{folder}: has {len(files)} files {name}.*{listed}; a graph is one of nodes and one of edges"
            )
        if not files[0].resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{files[0]}: is a link that leads out of its folder; put the file itself there")
        found.append(files[0])
    return found[0], found[1]


def read_tables(
    source: Source,
    nodes: str,
    edges: str,
    columns: Columns = Columns(),
    known: Encoding | None = None,
) -> Tables:
    """`known`: how features were encoded in training, for a graph that is looked at later.

    Raises `DataError`, one line with the file and, if it can, its line.
    """
    rows = read_rows(located(source, "nodes", nodes), "nodes", (columns.id, columns.label), columns.separator, least=0)
    ids = rows.column(columns.id, "id")
    number: dict[str, int] = {}
    for i, name in enumerate(ids):
        if not name:
            raise rows.refuse(i, "the node has no id")
        if name in number:
            raise rows.refuse(i, f"has the node {name!r} twice, first in line {rows.lines[number[name]]}")
        number[name] = i
    there = rows.columns or []
    for option, named in (("ignore", columns.ignore), ("categories", columns.categories)):
        for name in named:
            rows.place(name, option)
    labels = rows.column(columns.label) if columns.label in there else None
    split = _splits(rows, columns)
    plain = {columns.id, columns.label, columns.split or "split", *columns.ignore, *columns.held}
    encoding = known or _learned(rows, [name for name in there if name not in plain], columns.categories)
    pairs, weights, features, names = _edges(source, edges, columns, number, nodes)
    graph = Graph(encoding.encoded(rows), pairs, features)
    return Tables(graph, weights, ids, rows, labels, split, encoding, names)


def _splits(rows: TextRows, columns: Columns) -> list[str] | None:
    if columns.split is None and "split" not in (rows.columns or []):
        return None
    return rows.column(columns.split or "split", "split")


def _learned(rows: TextRows, names: Sequence[str], categories: Sequence[str]) -> Encoding:
    kinds: dict[str, float | list[str]] = {}
    for name in names:
        cells = rows.column(name)
        told = [cell for cell in cells if cell]
        if name in categories or (told and not any(map(_is_number, told))):
            found = sorted(set(told), key=_in_order)
            if len(found) > MOST_CATEGORIES and name not in categories:
                raise DataError(
                    f"data.options.nodes: {rows.path}: {name} has {len(found):,} different texts; leave it out by "
                    f"data.options.ignore=[{name}], or name it in data.options.categories"
                )
            kinds[name] = found
            continue
        if not told:
            raise DataError(
                f"data.options.nodes: {rows.path}: {name} is empty in every line; leave it out by "
                f"data.options.ignore=[{name}]"
            )
        kinds[name] = float(np.mean(_numbers(rows, name, cells, math.nan)[[bool(cell) for cell in cells]]))
    return Encoding(kinds)


def _edges(
    source: Source, edges: str, columns: Columns, number: Mapping[str, int], nodes: str
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, list[str]]:
    """Pairs `(2, edges)`, weights and features of them, and the names of the features."""
    ends = (("source", columns.source), ("target", columns.target))
    rows = read_rows(located(source, "edges", edges), "edges", [name for _, name in ends], columns.separator, least=0)
    if rows.columns is None and rows.rows and not set(rows.rows[0][:2]) & set(number):
        head = ", ".join(map(repr, rows.rows[0]))
        raise DataError(
            f"data.options.edges: {rows.path} has no column {columns.source!r}, and its first line ({head}) names no "
            "node; name its columns by data.options.source_column and data.options.target_column"
        )
    found = []
    for at, (end, name) in enumerate(ends):
        cells = rows.column(name, f"{end}_column", at)
        strange = next((i for i, cell in enumerate(cells) if cell not in number), None)
        if strange is not None:
            raise rows.refuse(strange, f"{end} is {cells[strange]!r}, which is no id in {nodes}")
        found.append([number[cell] for cell in cells])
    pairs = np.array(found, np.int64).reshape(2, -1)
    weights = None
    if columns.weight is not None:
        cells = rows.column(columns.weight, "weight", 2)
        weights = _numbers(rows, columns.weight, cells, math.nan)
        low = np.flatnonzero(~(weights > 0))
        if len(low):
            raise rows.refuse(int(low[0]), f"{columns.weight} is {cells[low[0]]!r}; a weight is a number above 0")
    plain = {columns.source, columns.target, columns.weight, *columns.ignore}
    named = [name for name in rows.columns or [] if name not in plain]
    features = [_numbers(rows, name, rows.column(name), None) for name in named]
    return pairs, weights, np.stack(features, 1) if features else None, named


def _numbers(rows: TextRows, name: str, cells: Sequence[str], fill: float | None) -> np.ndarray:
    """Of a column as float32; an empty cell is `fill`, or refused if there is none."""
    out = np.zeros(len(cells), np.float32)
    for i, cell in enumerate(cells):
        value = _number(cell) if cell or fill is None else fill
        if value is None or not (cell == "" or abs(value) < 3e38):
            remedy = "" if fill is None else f"; if it is a category, name it in data.options.categories=[{name}]"
            raise rows.refuse(i, f"{name} is {cell!r}, which is no number{remedy}")
        out[i] = value
    return out


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _in_order(name: str) -> tuple[int, float, str]:
    """Numbers by their size, before texts."""
    value: Any = _number(name)
    return (0, value, name) if value is not None else (1, 0.0, name)
