"""Examples with their targets from another file of the kind that a net was trained on: what it is evaluated on.

    a table          targets in the column that they had in training, or in the one that is named
    .npz             an array `y` beside `x`; of a graph -1 for nodes without a class
    a folder         a folder for each class; of a graph the tables nodes and edges
    pairs, .txt      targets as in training: the other side of each pair, the next token of a text

Targets become what they were in training: ids of the same classes, the same tokens, values as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlocked.data.class_labels import labels_of, text_of
from unlocked.data.files.arrays import open_arrays
from unlocked.data.files.text_rows import JSON_LINES, read_rows, utf8_text
from unlocked.data.graphs.arrays import NONE
from unlocked.data.graphs.files import arrays_of
from unlocked.data.new import tables
from unlocked.data.new.graphs import is_graph_folder, read_new_graph
from unlocked.data.new.inputs import ARRAYS, TABLES, TEXTS, New, of_texts, read_file
from unlocked.data.new.reading import Reading
from unlocked.data.words import tokenize
from unlocked.data.words.pairs import ENDED, framed
from unlocked.data.words.text import windows
from unlocked.errors import DataError, reason
from unlocked_models.contract.batch import EDGES, Extra, Ragged
from unlocked_models.contract.registry import unknown

TARGETS = ("target", "label", "class", "y")  # columns that are tried if none is named
OPTIONS = ("target", "target_column", "label")  # of data sets, that name the column


@dataclass(frozen=True, eq=False)
class Labelled:
    """`new`: inputs as the net sees them; `y` as the data set's task takes targets, before `Task.targets`."""

    new: New
    y: np.ndarray


def read_labelled(path: Path, reading: Reading, options: Mapping[str, Any], target: str | None = None) -> Labelled:
    """`options`: those of the data set that was trained on; `target`: the column, if it is another.

    Raises `DataError`, one line that names the file, and if it can the row.
    """
    if not path.exists():
        raise DataError(f"{path}: is no file or folder")
    ending = path.suffix.lower()
    if reading.is_text and reading.example.out_positions is not None:
        return _of_tokens(path, reading, options, target)
    if is_graph_folder(path, reading):
        graph = read_new_graph(path, reading)
        if graph.y is None or (graph.y == NONE).all():
            raise DataError(f"{path}: has no node with a class")
        return Labelled(read_file(path, reading), graph.y[None])
    if path.is_dir():
        return _of_folder(path, reading)
    if ending in ARRAYS:
        return _of_arrays(path, reading)
    if tables.reads(path, reading):
        (x, extras, _, notes), given = tables.labelled_rows(path, reading, _names(options, target))
        new = New(reading.numbers(str(path), x), extras, notes=notes)
        return Labelled(new, _meant(str(path), given, reading) if isinstance(given, list) else given)
    if ending not in (*TABLES, *JSON_LINES):
        raise DataError(f"{path}: holds no targets; give a table with a column of them, an .npz with y, or a folder")
    cells = _column(path, _names(options, target), target)
    new = read_file(path, reading)
    if len(new.x) != len(cells):
        raise DataError(f"{path}: has {len(new.x)} inputs and {len(cells)} targets")
    return Labelled(new, _meant(str(path), cells, reading))


def names_of_rows(path: Path, column: str, reading: Reading) -> list[str]:
    """The cells of a column of a table; raises `DataError` if it has none of that name."""
    if tables.reads(path, reading):
        try:
            return tables.cells_of(path, reading, column)
        except DataError as error:
            raise DataError(f"--id: {error}") from None
    if path.suffix.lower() not in (*TABLES, *JSON_LINES):
        raise DataError(f"--id: {path} is no table, and has no column {column!r}")
    heads, rows, _ = _rows(path, [column])
    if column not in heads:
        raise DataError(f"--id: {path}: {unknown('column', column, heads)}")
    return [row[heads.index(column)] for row in rows]


def _names(options: Mapping[str, Any], target: str | None) -> list[str]:
    if target is not None:
        return [target]
    told = [options[key] for key in OPTIONS if options.get(key)]
    return [str(each) for one in told[:1] for each in (one if isinstance(one, list) else [one])] or list(TARGETS)


def _column(path: Path, names: Sequence[str], asked: str | None) -> list[list[str]]:
    """A list of cells for each row, of as many columns as were trained on."""
    heads, rows, where = _rows(path, names)
    found = [name for name in names if name in heads]
    if asked is None and names == list(TARGETS):
        found = found[:1]
    elif len(found) < len(names):
        found = []
    if not found:
        lacking = next(name for name in names if name not in heads)
        raise DataError(f"{path}: {unknown('column', lacking, heads)}; --target names the column of targets")
    places = [heads.index(name) for name in found]
    for i, row in enumerate(rows):
        for place, name in zip(places, found, strict=True):
            if not row[place]:
                raise DataError(f"{where(i)}: {name} is empty; every row needs a target")
    return [[row[place] for place in places] for row in rows]


def _rows(path: Path, names: Sequence[str]) -> tuple[list[str], list[list[str]], Any]:
    if path.suffix.lower() != ".parquet":
        try:
            rows = read_rows(path, "file", names)
        except DataError as error:
            raise DataError(str(error).removeprefix("data.options.file: ")) from None
        return rows.columns or rows.rows[0], rows.rows, lambda i: f"{path}, line {rows.lines[i]}"
    import pyarrow
    import pyarrow.parquet

    try:
        heads = pyarrow.parquet.read_schema(path).names
        table = pyarrow.parquet.read_table(path, columns=[name for name in names if name in heads])
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {reason(error)}") from None
    cells = [["" if cell is None else str(cell) for cell in row.values()] for row in table.to_pylist()]
    return list(table.column_names), cells, lambda i: f"{path}, row {i + 1}"


def _meant(what: str, cells: Sequence[Sequence[str]], reading: Reading) -> np.ndarray:
    """Targets of these cells: values, or ids of the classes that were trained on."""
    if reading.example.y_real:
        width = reading.example.n_outputs
        if len(cells[0]) != width:
            raise DataError(f"{what}: has {len(cells[0])} columns of targets; this net gives {width} values")
        return np.array([[_value(what, i, cell) for cell in row] for i, row in enumerate(cells, 1)])
    known = {name: i for i, name in enumerate(reading.class_names)}
    ids = []
    for i, (cell, *_) in enumerate(cells, 1):
        at = known.get(cell, known.get(_whole(cell)))
        if at is None:
            raise DataError(f"{what}: row {i}: {unknown('class', cell, reading.class_names)}")
        ids.append(at)
    return np.array(ids)


def _value(what: str, row: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{what}: row {row}: {cell!r} is no number")
    return value


def _whole(cell: str) -> str:
    """A number as it is named: 3.0 is class 3."""
    try:
        value = float(cell)
    except ValueError:
        return cell
    return str(int(value)) if np.isfinite(value) and value == int(value) else cell


def _of_arrays(path: Path, reading: Reading) -> Labelled:
    if (reading.files or {}).get("kind") == "arrays":
        return _of_own_arrays(path, reading)
    try:
        arrays = arrays_of(path, "file")
    except DataError as error:
        raise DataError(str(error).removeprefix("data.options.file: ")) from None
    if "y" not in arrays:
        raise DataError(f"{path}: has no array y of targets (it has {', '.join(arrays)})")
    new, y = read_file(path, reading), np.asarray(arrays["y"])
    if any(shape.name == EDGES for shape in reading.extras) and y.ndim == len(reading.example.y_shape):
        y = y[None]  # of the nodes of one graph
    if len(y) != len(new.x):
        raise DataError(f"{path}: x has {len(new.x)} rows, y {len(y)}")
    kinds = "biuf" if reading.example.y_real else "biu"
    if y.dtype.kind == "U" and not reading.example.y_real and y.ndim == 1:
        return Labelled(new, _meant(str(path), [[each] for each in y.tolist()], reading))
    if y.dtype.kind not in kinds or not np.isfinite(y).all():
        raise DataError(f"{path}: y is {y.dtype}; it needs {'numbers' if 'f' in kinds else 'ids of classes'}")
    return Labelled(new, y)


def _of_own_arrays(path: Path, reading: Reading) -> Labelled:
    """By the names that the arrays had in training."""
    assert reading.files is not None
    opened, name = open_arrays(path), str(reading.files.get("y", "y"))
    if name not in opened.told:
        raise DataError(f"{path}: has no array {name} of targets (it has {opened.listed()})")
    new, y = read_file(path, reading), opened.load([name])[name]
    if len(y) != len(new.x):
        raise DataError(f"{path}: {len(new.x)} inputs, and {name} has {len(y)} rows")
    if reading.example.y_real:
        if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
            raise DataError(f"{path}: {name} is {y.dtype}; it needs finite numbers")
        return Labelled(new, y)
    labels = labels_of(f"{path}: {name}", y)
    if reading.files.get("named"):  # ids
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(reading.class_names):
            raise DataError(f"{path}: {name} holds no ids of the {len(reading.class_names)} classes")
        return Labelled(new, labels)
    return Labelled(new, _meant(str(path), [[text_of(each)] for each in labels], reading))


def _of_folder(path: Path, reading: Reading) -> Labelled:
    """A folder of files for each class."""
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not each.is_symlink())
    strange = next((each.name for each in folders if each.name not in reading.class_names), None)
    if not folders or strange is not None:
        told = "has no folder for each class" if strange is None else unknown("class", strange, reading.class_names)
        raise DataError(f"{path}: {told}")
    parts = [read_file(each, reading) for each in folders]
    ids = [np.full(len(part.x), reading.class_names.index(f.name)) for f, part in zip(folders, parts, strict=True)]
    extras: dict[str, Extra] = {}
    for name in parts[0].extras:
        each = [part.extras[name] for part in parts]
        if any(isinstance(extra, Ragged) for extra in each):
            raise DataError(f"{path}: {name} has rows of several lengths, which folders do not give")
        extras[name] = torch.cat([extra for extra in each if not isinstance(extra, Ragged)])
    notes = [note for part in parts for note in part.notes]
    return Labelled(New(torch.cat([part.x for part in parts]), extras, notes=notes), np.concatenate(ids))


def _of_tokens(path: Path, reading: Reading, options: Mapping[str, Any], target: str | None) -> Labelled:
    positions, what = reading.example.out_positions, str(path)
    assert positions is not None
    tokenizer = None if reading.tokenizer is None else tokenize.from_json(reading.tokenizer)
    if reading.ends:  # of whole sequences, not of windows of a text
        return _of_pairs(path, reading, options, target)
    if path.suffix.lower() not in TEXTS or tokenizer is None:
        raise DataError(f"{what}: this net is evaluated on a text, a .txt file")
    try:
        x, y = windows(what, tokenize.encode(tokenizer, utf8_text(path, "file")), positions)
    except DataError as error:
        raise DataError(str(error).removeprefix("data.options.file: ")) from None
    return Labelled(New(torch.from_numpy(x), what=what), y)


def _of_pairs(path: Path, reading: Reading, options: Mapping[str, Any], target: str | None) -> Labelled:
    positions, what = reading.example.out_positions or 0, str(path)
    column = target or str(options.get("target_column") or "target")
    try:
        rows = read_rows(path, "file", (reading.text_column, column), str(options.get("separator") or ""))
        texts, wanted = rows.column(reading.text_column, at=0), rows.column(column, at=1)
    except DataError as error:
        raise DataError(str(error).removeprefix("data.options.file: ")) from None
    stored = reading.target_tokenizer or reading.tokenizer
    tokenizer = None if stored is None else tokenize.from_json(stored)
    known = {name: i for i, name in enumerate(reading.class_names)}
    kept, ids = [], []
    for i, text in enumerate(wanted):
        if tokenizer is not None:
            row = tokenize.encode(tokenizer, text).tolist()
        else:
            strange = next((token for token in text.split() if token not in known), None)
            if strange is not None:
                raise DataError(f"{path}, line {rows.lines[i]}: {unknown('token', strange, reading.class_names)}")
            row = [known[token] for token in text.split()]
        if not row:
            raise DataError(f"{path}, line {rows.lines[i]}: the target is empty")
        if len(row) < positions:
            kept.append(i)
            ids.append(row)
    if not kept:
        raise DataError(f"{what}: no target has fewer than {positions} tokens, which is all that this net can write")
    new = of_texts([texts[i] for i in kept], reading, what)
    left = len(wanted) - len(kept)
    notes = [*new.notes, *([f"{what}: {left} targets of {positions} or more tokens are left out"] if left else [])]
    return Labelled(New(new.x, new.extras, notes=notes, what=what), framed(ids, positions, ENDED))
