"""New rows of a table or a series, for a net that was trained on one: the same columns become the same features.

Of a series the net is asked what comes after the last rows of the file, of each of its series.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.data.files.csv import Format
from unlocked.data.loading.targets import BASE
from unlocked.data.new.reading import Reading
from unlocked.data.tables.columns import Column, encoded, of_json, texts
from unlocked.data.tables.series import Shape, latest, related, rows_of, starts, windows
from unlocked.data.tables.table import ENDINGS, Table, of_columns, read_table
from unlocked.data.tables.targets import labels_of
from unlocked.errors import DataError
from unlocked_models.contract.batch import Extra
from unlocked_models.contract.registry import unknown

KINDS = ("table", "series")
Raw = tuple[np.ndarray, dict[str, Extra], list[str] | None, list[str]]  # x as given, extras, names of inputs, notes


def is_table(reading: Reading) -> bool:
    return reading.files is not None and reading.files.get("kind") in KINDS


def reads(path: Path, reading: Reading) -> bool:
    return is_table(reading) and path.suffix.lower() in ENDINGS and path.is_file()


def raw_rows(path: Path, reading: Reading) -> Raw:
    """Raises `DataError`, with the row."""
    return _raw(read_table(path, _format(reading)), reading)


def cells_of(path: Path, reading: Reading, name: str) -> list[str]:
    """Of a column, as texts; empty: missing. Raises `DataError` if there is none of that name."""
    table = read_table(path, _format(reading))
    if name not in table.columns:
        raise DataError(f"{path}: {unknown('column', name, list(table.columns))}")
    return ["" if cell is None else cell for cell in texts(table.columns[name], table.of(name)).to_pylist()]


def raw_columns(heads: Sequence[str], rows: Sequence[Sequence[object]], reading: Reading, what: str) -> Raw:
    """Of a table that is in memory."""
    for i, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise DataError(f"{what}: row {i} has {len(row)} columns, not {len(heads)}")
    by_name = dict(zip(heads, zip(*rows, strict=True), strict=True))
    return _raw(of_columns(by_name, Path(what), _format(reading)), reading)


def labelled_rows(path: Path, reading: Reading, names: Sequence[str]) -> tuple[Raw, np.ndarray | list[list[str]]]:
    """Rows with their targets: of a table the cells of the columns `names`, of a series what came after each window.

    Raises `DataError`, with the row.
    """
    assert reading.files is not None
    table = read_table(path, _format(reading))
    if reading.files["kind"] == "series":
        return _whole_windows(table, reading)
    task, cells = reading.files.get("task"), []
    for name in names:
        if name not in table.columns:
            raise DataError(f"{path}: {unknown('column', name, list(table.columns))}; --target names the column")
        column = texts(table.columns[name], table.of(name)).to_pylist()
        lacking = next((row for row, cell in enumerate(column) if cell is None), None)
        if lacking is not None:
            raise DataError(f"{table.where(lacking)}: {name} is missing; every row needs a target")
        cells.append(column)
    if task == "multi_label":
        return _raw(table, reading), np.stack([labels_of(table, name) for name in names], 1)
    if task == "binary_classification":
        classes = reading.files.get("classes")
        known = [str(each) for each in classes] if isinstance(classes, list) else []
        strange = next((row for row, cell in enumerate(cells[0]) if cell not in known), None)
        if strange is not None:
            raise DataError(f"{table.where(strange)}: {names[0]}: {unknown('class', cells[0][strange], known)}")
        return _raw(table, reading), np.array([known.index(cell) for cell in cells[0]])
    return _raw(table, reading), [list(row) for row in zip(*cells, strict=True)]


def _whole_windows(table: Table, reading: Reading) -> tuple[Raw, np.ndarray]:
    shape = _shape(reading)
    targets, horizon = _targets(shape, reading)
    rows = rows_of(table, shape)
    first = starts(rows, shape.length, horizon, 1, targets)
    if not len(first):
        raise DataError(f"{table.path}: no window of {shape.length} + {horizon} rows has all its values")
    x, y = windows(rows, first, shape.length, horizon, targets)
    x, extras = _related(x, shape, reading)
    if isinstance(base := extras.get(BASE), Tensor):
        y = y - base.numpy()
    return (x, extras, None, []), y


def _raw(table: Table, reading: Reading) -> Raw:
    assert reading.files is not None
    if reading.files["kind"] == "table":
        x, notes = encoded(table, _columns(reading))
        return x, {}, None, notes
    shape = _shape(reading)
    x, names = latest(rows_of(table, shape), shape.length)
    if not len(x):
        raise DataError(f"{table.path}: has {len(table)} rows; this net reads the last {shape.length} of a series")
    unread = np.argwhere(np.isnan(x))
    if len(unread):
        which, _, channel = unread[0]
        of = f" of {names[which]}" if shape.series else ""
        raise DataError(f"{table.path}: the last {shape.length} rows{of} have no value of {shape.channels[channel]}")
    x, extras = _related(x, shape, reading)
    return x, extras, names if shape.series else None, []


def _targets(shape: Shape, reading: Reading) -> tuple[list[int], int]:
    given = reading.files or {}
    targets: Any = given.get("targets")
    horizon: Any = given.get("horizon")
    sound = (
        isinstance(targets, list)
        and all(type(at) is int and 0 <= at < len(shape.channels) for at in targets)
        and type(horizon) is int
        and horizon >= 1
        and len(targets) * horizon == reading.example.n_outputs
    )
    if not sound:
        raise DataError("inputs.json: what it says of its series' targets is damaged")
    return targets, horizon


def _related(x: np.ndarray, shape: Shape, reading: Reading) -> tuple[np.ndarray, dict[str, Extra]]:
    if not shape.relative:
        return x, {}
    x, base = related(x, *_targets(shape, reading))
    return x, {BASE: torch.from_numpy(base.astype(np.float32))}


def _shape(reading: Reading) -> Shape:
    given = reading.files or {}
    try:
        shape = Shape(
            tuple(given["channels"]),
            given["length"],
            given.get("time"),
            given.get("series"),
            str(given["missing"]),
            given.get("relative") is True,
        )
        texts = [*shape.channels, *(each for each in (shape.time, shape.series) if each is not None)]
        if not all(isinstance(each, str) for each in texts) or (shape.length, len(shape.channels)) != reading.shape:
            raise ValueError(f"{given!r} is of no series")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"inputs.json: what it says of its series is damaged: {error}") from None
    return shape


def _columns(reading: Reading) -> list[Column]:
    assert reading.files is not None
    try:
        return of_json(reading.files)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"inputs.json: its columns are damaged: {error}") from None


def _format(reading: Reading) -> Format:
    assert reading.files is not None
    try:
        return Format.of_json(reading.files.get("format", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"inputs.json: the format of its files is damaged: {error}") from None
