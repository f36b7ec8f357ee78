"""New rows of a table or a series, for a net that was trained on one: the same columns become the same features.

Of a series the net is asked what comes after the last rows of the file, of each of its series.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unlocked.data.columns import Column, encoded, of_json
from unlocked.data.csv_files import Format
from unlocked.data.reading import Reading
from unlocked.data.series import Shape, latest, rows_of
from unlocked.data.tables import ENDINGS, Table, of_columns, read_table
from unlocked.errors import DataError

KINDS = ("table", "series")
Raw = tuple[np.ndarray, list[str] | None, list[str]]  # x before it is normalised, names of the inputs, notes


def is_table(reading: Reading) -> bool:
    return reading.files is not None and reading.files.get("kind") in KINDS


def reads(path: Path, reading: Reading) -> bool:
    return is_table(reading) and path.suffix.lower() in ENDINGS and path.is_file()


def raw_rows(path: Path, reading: Reading) -> Raw:
    """Raises `DataError`, with the row."""
    return _raw(read_table(path, _format(reading)), reading)


def raw_columns(heads: Sequence[str], rows: Sequence[Sequence[object]], reading: Reading, what: str) -> Raw:
    """Of a table that is in memory."""
    for i, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise DataError(f"{what}: row {i} has {len(row)} columns, not {len(heads)}")
    by_name = dict(zip(heads, zip(*rows, strict=True), strict=True))
    return _raw(of_columns(by_name, Path(what), _format(reading)), reading)


def _raw(table: Table, reading: Reading) -> Raw:
    assert reading.files is not None
    if reading.files["kind"] == "table":
        x, notes = encoded(table, _columns(reading))
        return x, None, notes
    shape = _shape(reading)
    for name in shape.channels:
        table.column(name, str(table.path))
    x, names = latest(rows_of(table, shape), shape.length)
    if not len(x):
        raise DataError(f"{table.path}: has {len(table)} rows; this net reads the last {shape.length} of a series")
    unread = np.argwhere(np.isnan(x))
    if len(unread):
        which, _, channel = unread[0]
        of = f" of {names[which]}" if shape.series else ""
        raise DataError(f"{table.path}: the last {shape.length} rows{of} have no value of {shape.channels[channel]}")
    return x, names if shape.series else None, []


def _shape(reading: Reading) -> Shape:
    given = reading.files or {}
    try:
        shape = Shape(
            tuple(given["channels"]), given["length"], given.get("time"), given.get("series"), str(given["missing"])
        )
        texts = [*shape.channels, *(each for each in (shape.time, shape.series) if each is not None)]
        if not all(isinstance(each, str) for each in texts) or type(shape.length) is not int or shape.length < 1:
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
