"""New rows of a table, for a net that was trained on one: the same columns become the same features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unlocked.data.columns import Column, encoded, of_json
from unlocked.data.csv_files import Format
from unlocked.data.reading import Reading
from unlocked.data.tables import ENDINGS, Table, of_columns, read_table
from unlocked.errors import DataError


def is_table(reading: Reading) -> bool:
    return reading.files is not None and reading.files.get("kind") == "table"


def reads(path: Path, reading: Reading) -> bool:
    return is_table(reading) and path.suffix.lower() in ENDINGS and path.is_file()


def raw_rows(path: Path, reading: Reading) -> tuple[np.ndarray, list[str]]:
    """`x (n, features)` before it is normalised, and notes. Raises `DataError`, with the row."""
    return _encoded(read_table(path, _format(reading)), reading)


def raw_columns(
    heads: Sequence[str], rows: Sequence[Sequence[object]], reading: Reading, what: str
) -> tuple[np.ndarray, list[str]]:
    """Of a table that is in memory."""
    for i, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise DataError(f"{what}: row {i} has {len(row)} columns, not {len(heads)}")
    by_name = dict(zip(heads, zip(*rows, strict=True), strict=True))
    return _encoded(of_columns(by_name, Path(what), _format(reading)), reading)


def _encoded(table: Table, reading: Reading) -> tuple[np.ndarray, list[str]]:
    return encoded(table, _columns(reading))


def _columns(reading: Reading) -> list[Column]:
    assert reading.files is not None
    try:
        return of_json(reading.files)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"inputs.json: its columns are damaged: {error}") from None


def _format(reading: Reading) -> Format:
    assert reading.files is not None
    empty = reading.files.get("empty") or []
    return Format(empty=tuple(str(word) for word in empty))
