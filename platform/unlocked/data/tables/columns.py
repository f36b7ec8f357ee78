"""Columns of a table as the features of a net: numbers as they are, categories one-hot, dates as days.

What is learned from training rows (fills of missing values, categories) is a `Column` each, kept with a run, so that a
new table becomes features in the same way, wherever its columns stand.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import psutil

from unlocked.data.files.arrow import pc, pyarrow, types
from unlocked.data.files.csv import Format
from unlocked.data.tables.table import Table, refuse_mixed
from unlocked.errors import DataError
from unlocked.numerals import is_number

NUMBER, CATEGORY, DATE = "number", "category", "date"
MISSING = "(missing)"  # the category
WAYS = ("fill", "indicate", "drop", "refuse")
_DAY = 86_400e6  # microseconds


@dataclass(frozen=True)
class Column:
    """How one column becomes features.

    Args:
        kind: number, category or date.
        fill: of a number or date, what a missing value is read as, the median of the training rows; None: a missing
            value is refused.
        indicate: another feature is 1 if the value is missing.
        categories: one feature each, 1 for its rows; any other value is 0 in all of them.
    """

    name: str
    kind: str
    fill: float | None = None
    indicate: bool = False
    categories: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        if self.kind == CATEGORY:
            return [f"{self.name}={category}" for category in self.categories]
        return [self.name, *([f"{self.name} is missing"] if self.indicate else [])]

    @property
    def plain(self) -> list[bool]:
        """Of each feature, whether it is 0 or 1 and stays so."""
        return [self.kind == CATEGORY or i > 0 for i, _ in enumerate(self.features)]


def is_dates(kind: pyarrow.DataType) -> bool:
    """Days or times of a day of some year; not a time of any day, and not how long something took."""
    return bool(types.is_date(kind) or types.is_timestamp(kind))


def kind_of(table: Table, name: str, categorical: Sequence[str] = ()) -> str:
    """Of a column; raises `DataError` for one that is neither numbers nor categories."""
    kind = table.columns[name].type
    if name in categorical or types.is_boolean(kind):
        return CATEGORY if not types.is_boolean(kind) or name in categorical else NUMBER
    if types.is_string(kind):
        refuse_mixed(table, name)
        return CATEGORY
    if types.is_integer(kind) or types.is_floating(kind):
        return NUMBER
    if is_dates(kind):
        return DATE
    if types.is_null(kind):
        raise DataError(f"{table.path}: the column {name!r} has no value at all; data.options.drop=[{name}]")
    raise DataError(f"{table.path}: the column {name!r} holds {kind}, which is no input; data.options.drop=[{name}]")


def learned(
    table: Table, names: Sequence[str], categorical: Sequence[str], missing: str, most: int, rows: np.ndarray
) -> list[Column]:
    """Of the training `rows`; `most`: categories of a column, the most frequent ones."""
    found = []
    train = table.taken(rows)
    for name in names:
        kind = kind_of(table, name, categorical)
        column = train.columns[name]
        lacking = column.null_count
        if lacking == len(column):
            raise DataError(
                f"{table.path}: the column {name!r} has no value in the training rows; data.options.drop=[{name}]"
            )
        if kind == CATEGORY:
            found.append(
                Column(name, kind, categories=_categories(texts(column, table.of(name)), most, missing in WAYS[:2]))
            )
        else:
            with np.errstate(over="ignore"):
                fill = float(np.nanmedian(numbers(train, name, column))) if missing in WAYS[:2] else None
            found.append(Column(name, kind, fill, missing == "indicate" and lacking > 0))
    return found


def _categories(column: pyarrow.ChunkedArray, most: int, with_missing: bool) -> list[str]:
    counts = pc.value_counts(column.drop_null()).to_pylist()
    kept = sorted(counts, key=lambda each: (-each["counts"], each["values"]))[:most]
    return sorted(str(each["values"]) for each in kept) + [MISSING] * (with_missing and column.null_count > 0)


def texts(column: pyarrow.ChunkedArray, what: str) -> pyarrow.ChunkedArray:
    """Values as texts, the same for 1 and 1.0. Raises `DataError`, which begins with `what`, for a column of lists or
    of bytes that are no text."""
    if types.is_floating(column.type):
        whole = pc.all(pc.and_(pc.equal(column, pc.round(column)), pc.less(pc.abs(column), 2.0**53))).as_py()
        column = column.cast(pyarrow.int64()) if whole is not False else column
    try:
        return column.cast(pyarrow.string())
    except pyarrow.ArrowException:
        raise DataError(f"{what} holds {column.type}, which is no text, number or date") from None


def numbers(table: Table, name: str, column: pyarrow.ChunkedArray) -> np.ndarray:
    """float64, NaN for what is missing. Raises `DataError`, with the row, for what is no number or infinite."""
    kind = column.type
    if types.is_string(kind):
        there = pc.fill_null(pc.match_substring_regex(column, r"^$"), True)
        row = pc.index(there, False).as_py()
        raise DataError(f"{table.where(row)}: {name} is {column[row].as_py()!r}, which is no number")
    if is_dates(kind):
        values = _microseconds(column, table.of(name)).cast(pyarrow.int64())
        found: np.ndarray = values.cast(pyarrow.float64(), safe=False).to_numpy() / _DAY
        return found
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind):
        column = column.cast(pyarrow.int8())
    elif not types.is_integer(kind) and not types.is_floating(kind):
        raise DataError(f"{table.of(name)} holds {kind}, not numbers")
    found = column.cast(pyarrow.float64(), safe=False).to_numpy()
    infinite = np.flatnonzero(np.isinf(found))
    if len(infinite):
        raise DataError(f"{table.where(int(infinite[0]))}: {name} is infinite")
    return found


def _is_time(text: str | None) -> bool:
    """Or missing; also if the other cells of its column are of the other kind."""
    if text is None or is_number(text):
        return True
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _microseconds(column: pyarrow.ChunkedArray, what: str) -> pyarrow.ChunkedArray:
    try:
        return column.cast(pyarrow.timestamp("us", getattr(column.type, "tz", None)))
    except pyarrow.ArrowException:
        raise DataError(f"{what} has a date too far away to be counted in microseconds") from None


def _compact_dates(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Dates if all whole numbers are some, such as 19580329."""
    if not types.is_integer(column.type) or column.null_count == len(column):
        return column
    ends = pc.min_max(column).as_py()
    if ends["min"] < 1800_01_01 or ends["max"] > 2200_12_31:
        return column
    dates = pc.strptime(column.cast(pyarrow.string()), "%Y%m%d", "us", error_is_null=True)
    return dates if dates.null_count == column.null_count else column


def times_of(found: Table, name: str) -> np.ndarray:
    """Numbers or datetime64. Raises `DataError`, with the row, for what is neither."""
    column = found.columns[name]
    if types.is_string(column.type):
        row = next((row for row, value in enumerate(column.to_pylist()) if not _is_time(value)), 0)
        raise DataError(
            f"{found.where(row)}: {name} is {column[row].as_py()!r}, which is no time; write numbers, or dates as "
            "2024-05-31 or 2024-05-31 13:00:00"
        )
    column = _compact_dates(column)
    if is_dates(column.type):
        values = _microseconds(column, found.of(name)).cast(pyarrow.timestamp("us"))
        times: np.ndarray = values.to_numpy().astype("datetime64[us]")
        return times
    if not types.is_integer(column.type) and not types.is_floating(column.type):
        raise DataError(f"{found.of(name)} holds {column.type}, which is no time; write numbers or dates")
    numbers: np.ndarray = column.cast(pyarrow.float64(), safe=False).to_numpy()
    return numbers


def encoded(table: Table, columns: Sequence[Column]) -> tuple[np.ndarray, list[str]]:
    """`x (rows, features)`, float32, and notes on what training never saw. Raises `DataError`, with the row."""
    lacking = [column.name for column in columns if column.name not in table.columns]
    if lacking:
        there = ", ".join(list(table.columns)[:20])
        raise DataError(f"{table.path}: has no column {', '.join(map(repr, lacking[:5]))} (it has {there})")
    width = sum(len(column.features) for column in columns)
    size, free = 4 * len(table) * width, psutil.virtual_memory().available
    if size > free:
        raise DataError(
            f"{table.path}: {len(table):,} rows of {width:,} features take {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} "
            "GB are free; data.options.categories makes fewer of them"
        )
    x = np.zeros((len(table), width), np.float32)
    notes, at = [], 0
    for column in columns:
        values = table.columns[column.name]
        if column.kind == CATEGORY:
            notes += _one_hot(table, column, texts(values, table.of(column.name)), x[:, at : at + len(column.features)])
        else:
            _refuse_other_kind(table, column)
            found = numbers(table, column.name, values)
            gone = np.isnan(found)
            if column.fill is None and gone.any():
                _refuse_missing(table, column.name, int(np.argmax(gone)))
            with np.errstate(over="ignore"):
                x[:, at] = np.where(gone, column.fill or 0.0, found)
            if not np.isfinite(x[:, at]).all():
                row = int(np.argmax(~np.isfinite(x[:, at])))
                raise DataError(f"{table.where(row)}: {column.name} is {found[row]:g}, which does not fit float32")
            if column.indicate:
                x[:, at + 1] = gone
        at += len(column.features)
    return x, notes


def _one_hot(table: Table, column: Column, values: pyarrow.ChunkedArray, x: np.ndarray) -> list[str]:
    """Written into `x`; notes on categories that are not among them."""
    gone = pc.is_null(values)
    if MISSING in column.categories:
        values = pc.fill_null(values, MISSING)
    found = pc.index_in(values, value_set=pyarrow.array(column.categories, pyarrow.string()))
    places = pc.fill_null(found, -1).to_numpy()
    known = places >= 0
    x[np.flatnonzero(known), places[known]] = 1
    unknown = np.flatnonzero(~known)
    if not len(unknown):
        return []
    first = values[int(unknown[0])].as_py()
    told = "no value" if first is None else repr(str(first)[:40])
    if first is None and gone.to_numpy()[unknown].all() and MISSING not in column.categories:
        told = "no value, as no training row"
    return [
        f"{table.where(int(unknown[0]))}: {column.name} has {told}, read as none of its {len(column.categories)} "
        f"categories{f' (and {len(unknown) - 1:,} more rows)' if len(unknown) > 1 else ''}"
    ]


def _refuse_other_kind(table: Table, column: Column) -> None:
    """Raises `DataError` for dates in place of numbers, or numbers in place of dates: days are no measure of those."""
    kind = table.columns[column.name].type
    if types.is_null(kind) or types.is_string(kind) or is_dates(kind) == (column.kind == DATE):
        return
    first, wanted = table.columns[column.name].drop_null()[:1].to_pylist(), {DATE: "dates", NUMBER: "numbers"}
    raise DataError(
        f"{table.of(column.name)} holds {', '.join(map(str, first)) or kind}, and training read {wanted[column.kind]}"
    )


def _refuse_missing(table: Table, name: str, row: int) -> None:
    raise DataError(f"{table.where(row)}: {name} is missing; data.options.missing: fill, indicate or drop allows it")


def refuse_or_drop(table: Table, names: Sequence[str], missing: str) -> Table:
    """Without the rows that lack a value, if they are to be dropped; raises `DataError` if none may lack one."""
    if missing not in WAYS[2:]:
        return table
    whole = np.ones(len(table), bool)
    for name in names:
        there = pc.is_valid(table.columns[name]).to_numpy()
        if missing == "refuse" and not there.all():
            _refuse_missing(table, name, int(np.argmin(there)))
        whole &= there
    if not whole.any():
        raise DataError(f"{table.path}: no row has a value in all columns; data.options.missing: fill keeps them")
    return table if whole.all() else table.taken(np.flatnonzero(whole))


def to_json(columns: Sequence[Column], how: Format) -> dict[str, Any]:
    """As a run keeps it, with what was said of the files' format."""
    return {"kind": "table", "columns": [asdict(column) for column in columns], "format": how.to_json()}


def of_json(value: Any) -> list[Column]:
    """Raises `ValueError` or `TypeError` for what no table said of itself."""
    columns = [Column(**each) for each in value["columns"]]
    for column in columns:
        sound = (
            isinstance(column.name, str)
            and column.kind in (NUMBER, CATEGORY, DATE)
            and isinstance(column.fill, int | float | None)
            and isinstance(column.indicate, bool)
            and isinstance(column.categories, list)
            and all(isinstance(each, str) for each in column.categories)
        )
        if not sound:
            raise ValueError(f"columns: {column!r} is of no table")
    return columns
