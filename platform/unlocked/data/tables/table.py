"""Tables from files by pyarrow: CSV of any encoding, separator and quoting, Parquet, JSON lines.

What the file does not say is found out and told in `Table.read_as`. Every fault is one `DataError` that names the file,
and the row, counted from 1 without the header, or the line of a CSV file that is torn. Files are data and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from unlocked.data.files.arrow import pc, pyarrow, types
from unlocked.data.files.csv import MISSING, Format, read_csv
from unlocked.data.files.source import Source
from unlocked.errors import DataError, reason

CSV, JSON_LINES, PARQUET = (".csv", ".tsv", ".tab", ".txt", ".data"), (".jsonl", ".ndjson"), (".parquet", ".pq")
ENDINGS = (*CSV, *JSON_LINES, *PARQUET)
_TIMES = 3  # what a file of text is in memory, over its bytes, at most
_MOSTLY = 0.9  # so many numbers in a column make the other cells mistakes
_DEEPEST = 100  # JSON
_SHOWN = 20  # columns in a message


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, all as long: numbers, booleans, dates, texts, with nulls for what is missing. `at`: of rows that
    were taken out of a file, their numbers there, from 0."""

    path: Path
    columns: Mapping[str, pyarrow.ChunkedArray]
    read_as: str
    format: Format = field(default_factory=Format)
    notes: list[str] = field(default_factory=list)
    at: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def where(self, row: int) -> str:
        return f"{self.path}, row {(row if self.at is None else int(self.at[row])) + 1}"

    def of(self, name: str) -> str:
        """A column, at the beginning of a message."""
        return f"{self.path}: the column {name!r}"

    def column(self, name: str, key: str) -> pyarrow.ChunkedArray:
        """Raises `DataError`, which begins with `key`, if it is not there."""
        if name not in self.columns:
            raise DataError(f"{key}: {self.path} has no column {name!r} (it has {listed(self.columns)})")
        return self.columns[name]

    def taken(self, rows: np.ndarray) -> Table:
        """These rows alone."""
        at = pyarrow.array(rows)
        columns = {name: column.take(at) for name, column in self.columns.items()}
        return replace(self, columns=columns, at=rows if self.at is None else self.at[rows])


def listed(names: Any) -> str:
    every = list(map(repr, names))
    return ", ".join(every[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


def located(source: Source, key: str, name: str) -> Path:
    """A path, or a name in the data folder."""
    path = source.given(key, name, Path.is_file)
    if path is None:
        raise DataError(f"{key}: {name} is no file, here or in {source.root}")
    return path


def read_table(path: Path, how: Format | None = None) -> Table:
    """Raises `DataError`, one line."""
    how = how or Format()
    try:
        size = path.stat().st_size
        if not size:
            raise DataError(f"{path}: is empty")
        ending = path.suffix.lower()
        if ending in PARQUET:
            found = _parquet(path)
        else:
            _refuse_larger_than_memory(path, size * _TIMES)
            found = _json_lines(path, how) if ending in JSON_LINES else _settled(path, *read_csv(path, how))
    except (OSError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    if not len(found):
        raise DataError(f"{path}: has no rows{f', only the columns {listed(found.columns)}' if found.columns else ''}")
    return found


def of_columns(columns: Mapping[str, Any], path: Path, how: Format | None = None) -> Table:
    """Of sequences by name, such as those of a pandas frame."""
    how = how or Format()
    made = {}
    for name, values in columns.items():
        try:
            array = pyarrow.array(values, from_pandas=True)
        except (pyarrow.ArrowException, TypeError):  # of several types
            array = pyarrow.array([None if value is None or value != value else str(value) for value in values])
        made[str(name)] = pyarrow.chunked_array([array])
    return _settled(path, made, "columns", how, [])


def _refuse_larger_than_memory(path: Path, size: int) -> None:
    free = psutil.virtual_memory().available
    if size > free:
        raise DataError(f"{path}: takes about {size / 1e9:,.1f} GB in memory, and {free / 1e9:,.1f} GB are free")


def _parquet(path: Path) -> Table:
    import pyarrow.parquet

    told = pyarrow.parquet.read_metadata(path)
    _refuse_larger_than_memory(path, told.num_rows * told.num_columns * 8)
    schema = pyarrow.parquet.read_schema(path)
    words = [each.name for each in schema if types.is_string(each.type) or types.is_large_string(each.type)]
    table = pyarrow.parquet.read_table(path, read_dictionary=words)  # a word that stands often is there once
    _refuse_larger_than_memory(path, sum(_size(column) for column in table.columns))
    return _settled(path, _named(path, table.column_names, table.columns), "Parquet", Format(), [])


def _size(column: pyarrow.ChunkedArray) -> int:
    """Bytes of words, each where it stands."""
    if not types.is_dictionary(column.type) or not types.is_string(column.type.value_type):
        return int(column.nbytes)
    return sum(
        int(pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices).cast(pyarrow.int64())).as_py() or 0)
        for chunk in column.chunks
    )


def _json_lines(path: Path, how: Format) -> Table:
    import pyarrow.json

    _refuse_deep(path)
    options = pyarrow.json.ReadOptions(block_size=max(2**20, min(path.stat().st_size + 1, 2**30)))
    try:
        table = pyarrow.json.read_json(path, read_options=options)
    except pyarrow.ArrowInvalid as error:  # which counts rows from 0
        said = re.sub(r" in row (\d+)", lambda row: f" in row {int(row[1]) + 1}", reason(error))
        raise DataError(f"{path}: is not JSON lines with an object in each: {said}") from None
    return _settled(path, _named(path, table.column_names, table.columns), "JSON lines", how, [])


def _refuse_deep(path: Path) -> None:
    """Raises `DataError` for values within values within ...: thousands overflow the stack of pyarrow's parser."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.count(b"[") + line.count(b"{") <= _DEEPEST:
                continue
            depth = 0
            for sign in re.findall(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]', line):
                depth += (sign in b"[{") - (sign in b"]}")
                if depth > _DEEPEST:
                    raise DataError(f"{path}, line {number}: has lists or objects nested more than {_DEEPEST} deep")


def _named(path: Path, names: Sequence[str], columns: Sequence[Any]) -> dict[str, pyarrow.ChunkedArray]:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{path}: has the column {twice!r} twice; rename one")
    return dict(zip(names, columns, strict=True))


# types -----------------------------------------------------------------------------------------------------------


def _settled(
    path: Path, columns: Mapping[str, pyarrow.ChunkedArray], read_as: str, how: Format, notes: list[str]
) -> Table:
    """With texts that are numbers as such. Raises `DataError` for a column that is numbers but for a few cells."""
    settled = {}
    notes = list(notes)
    for name, column in columns.items():
        kind = column.type
        if types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if types.is_large_string(kind) or types.is_string_view(kind):
            column = column.cast(pyarrow.string())
        elif types.is_decimal(kind) or types.is_float16(kind) or types.is_float32(kind):
            column = column.cast(pyarrow.float64())
        if types.is_string(column.type):
            column = _without_missing(column, how.empty)
            column, commas = _as_numbers(path, name, column)
            if commas:
                notes.append(f"the column {name} has decimal commas")
        elif types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        settled[name] = column
    return Table(path, settled, read_as, how, notes)


def _without_missing(column: pyarrow.ChunkedArray, empty: Sequence[str]) -> pyarrow.ChunkedArray:
    column = pc.utf8_trim_whitespace(column)
    words = pyarrow.array([*MISSING, *empty])
    return pc.if_else(pc.is_in(column, value_set=words), pyarrow.scalar(None, pyarrow.string()), column)


_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA_NUMBER = r"^[+-]?\d+,\d+$|^[+-]?\d+$"


def _as_numbers(path: Path, name: str, column: pyarrow.ChunkedArray) -> tuple[pyarrow.ChunkedArray, bool]:
    """The column, as numbers if its texts are some, and whether they had decimal commas."""
    there = len(column) - column.null_count
    if not there:
        return column, False
    numbers = pc.match_substring_regex(column, _NUMBER)
    count = pc.sum(numbers).as_py() or 0
    if count == there:
        return column.cast(pyarrow.float64()), False
    commas = pc.match_substring_regex(column, _COMMA_NUMBER)
    if pc.sum(commas).as_py() == there:
        return pc.replace_substring(column, ",", ".").cast(pyarrow.float64()), True
    return column, False


def refuse_mixed(table: Table, name: str) -> None:
    """Raises `DataError` for a column of texts that nearly all are numbers: the others are rather mistakes."""
    column = table.columns[name]
    if not types.is_string(column.type):
        return
    numbers = pc.match_substring_regex(column, _NUMBER)
    there = len(column) - column.null_count
    if there and _MOSTLY * there <= (pc.sum(numbers).as_py() or 0):
        row = pc.index(pc.fill_null(numbers, True), False).as_py()
        raise DataError(
            f"{table.where(row)}: {name} is {column[row].as_py()!r}, and a number in most rows; if it stands for a "
            f"missing value, data.options.empty=[{column[row].as_py()!r}]; if numbers are names of classes, "
            f"data.options.categorical=[{name}]"
        )
