"""A new graph from two tables, for a net that was trained on such: columns, categories and fills are those of then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.source import Source
from unlocked.data.graphs.arrays import NONE
from unlocked.data.graphs.files import GraphFile, read_graph
from unlocked.data.graphs.tables import Columns, Encoding, tables_in
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked_models.contract.registry import unknown

KIND = "graph"


@dataclass(frozen=True, eq=False)
class NewGraph:
    """`ids` of its nodes, and their classes if the table says some, -1 where it says none."""

    found: GraphFile
    ids: list[str]
    y: np.ndarray | None


def files_of(columns: Columns, found: GraphFile, directed: bool) -> dict[str, Any] | None:
    """What a run must know to read another graph of this kind; None if this one was not read from tables."""
    if found.tables is None:
        return None
    encoding = dict(found.tables.encoding.columns)
    return {"kind": KIND, "columns": vars(columns), "directed": directed, "encoding": encoding}


def is_graph_folder(path: Path, reading: Reading) -> bool:
    return path.is_dir() and (reading.files or {}).get("kind") == KIND


def read_new_graph(path: Path, reading: Reading) -> NewGraph:
    """Of a folder with the tables nodes and edges. Raises `DataError`, with the line."""
    nodes, edges = tables_in(path)
    columns, known, directed = _told(reading.files or {})
    try:
        found = read_graph(Source("new", path), "", str(nodes), str(edges), directed, columns, known)
    except DataError as error:
        text = str(error)
        for option in ("nodes", "edges", "file"):
            text = text.removeprefix(f"data.options.{option}: ")
        raise DataError(text) from None
    assert found.tables is not None
    return NewGraph(found, found.tables.ids, _classes(found, reading))


def _told(files: Mapping[str, Any]) -> tuple[Columns, Encoding, bool]:
    """Of inputs.json, which may be somebody else's."""
    try:
        kinds = {str(name): kind if isinstance(kind, list) else float(kind) for name, kind in files["encoding"].items()}
        return Columns(**files["columns"]), Encoding(kinds), bool(files["directed"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError("inputs.json: does not say how the tables of a graph are read") from None


def _classes(found: GraphFile, reading: Reading) -> np.ndarray | None:
    tables = found.tables
    assert tables is not None
    if tables.labels is None:
        return None
    number: Mapping[str, int] = {name: i for i, name in enumerate(reading.class_names)}
    for row, label in enumerate(tables.labels):
        if label and label not in number:
            raise DataError(
                f"{tables.nodes.path}, line {tables.nodes.lines[row]}: {unknown('class', label, reading.class_names)}"
            )
    return np.array([number.get(label, NONE) for label in tables.labels], np.int64)
