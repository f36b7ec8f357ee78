"""Windows of one or several series in a table: what was, and what came after it.

Rows are in the order of the file, or of a time. A window reads `length` rows of all channels, and its targets are the
next `horizon` rows of some of them. Targets are never made up: a window of which one is missing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import psutil

from unlocked.data.tables.columns import kind_of, numbers, texts, times_of
from unlocked.data.tables.table import Table, listed
from unlocked.errors import DataError


@dataclass(frozen=True)
class Shape:
    """Of the windows.

    Args:
        channels: columns that are read.
        length: rows of them.
        time: the column by which rows are sorted; None: they are in order.
        series: the column that says of which series a row is; None: all are of one.
        missing: a value that is missing is read as the last one before it (a line to the next would tell what is to be
            forecast); or its window is dropped, or the file refused.
        relative: what is read and forecast is the difference to the last row that is read.
    """

    channels: tuple[str, ...]
    length: int
    time: str | None = None
    series: str | None = None
    missing: str = "last"
    relative: bool = False


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows of a table by series and in order: `values (rows, channels)` as given, `filled` as they are read.

    `row`: their numbers in the file. `begins`: where each series begins, and the number of rows at the end. `times`:
    of each row, or its number from the end of its series on, -1 of the last.
    """

    values: np.ndarray
    filled: np.ndarray
    row: np.ndarray
    begins: np.ndarray
    names: list[str]
    times: np.ndarray


def channels_of(table: Table, given: Sequence[str] | None, without: Sequence[str | None]) -> list[str]:
    """Columns of numbers, or those that are given. Raises `DataError` for one that is none."""
    for name in given or ():
        table.column(name, "data.options.columns")
        if kind_of(table, name) != "number":
            raise DataError(f"{table.path}: the channel {name!r} holds {table.columns[name].type}, not numbers")
    if given:
        return list(given)
    found = []
    for name in table.columns:
        if name not in without and _is_number(table, name):
            found.append(name)
    if not found:
        raise DataError(f"{table.path}: no column of numbers is left as a channel (it has {listed(table.columns)})")
    return found


def _is_number(table: Table, name: str) -> bool:
    kind = str(table.columns[name].type)
    if kind == "string":
        kind_of(table, name)  # which refuses numbers with a few texts among them
    return kind.startswith(("int", "uint", "float", "double"))


def rows_of(table: Table, shape: Shape) -> Rows:
    """Raises `DataError`, with the row, for a time that stands twice in a series, and for missing values if those are
    refused."""
    lacking = [name for name in shape.channels if name not in table.columns]
    if lacking:
        raise DataError(
            f"{table.path}: has no column {', '.join(map(repr, lacking[:5]))} (it has {listed(table.columns)})"
        )
    codes, names = np.zeros(len(table), np.int64), [""]
    if shape.series is not None:
        given = table.column(shape.series, "data.options.series")
        given = np.array(texts(given, table.of(shape.series)).to_pylist(), object)
        nameless = next((row for row, name in enumerate(given) if name is None), None)
        if nameless is not None:
            raise DataError(f"{table.where(nameless)}: {shape.series} is missing; every row is of a series")
        unique, codes = np.unique(given.astype(str), return_inverse=True)
        names = [str(name) for name in unique]
    times = np.arange(len(table), dtype=np.float64)
    if shape.time is not None:
        table.column(shape.time, "data.options.time")
        times = _as_numbers(table, shape.time)
    order = np.lexsort((times, codes))
    codes, times = codes[order], times[order]
    if shape.time is not None:
        again = np.flatnonzero((np.diff(times) == 0) & (np.diff(codes) == 0))
        if len(again):
            first, second = order[again[0]], order[again[0] + 1]
            of = (
                f" of {names[codes[again[0]]]}" if shape.series else "; data.options.series names the column of several"
            )
            value = table.columns[shape.time][int(second)].as_py()
            raise DataError(
                f"{table.where(int(second))}: {shape.time} is {value} again, as in row {int(first) + 1}{of}"
            )
    begins = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    if shape.time is None:
        times = np.arange(len(codes), dtype=np.float64) - np.repeat(begins[1:], np.diff(begins))
    values = np.stack([numbers(table, name, table.columns[name]) for name in shape.channels], 1)[order]
    far = np.argwhere(np.abs(values) > np.finfo(np.float32).max)
    if len(far):
        at, channel = far[0]
        told = f"{shape.channels[channel]} is {values[at, channel]:g}, which does not fit float32"
        raise DataError(f"{table.where(int(order[at]))}: {told}")
    if shape.missing == "refuse" and np.isnan(values).any():
        at, channel = np.argwhere(np.isnan(values))[0]
        row = table.where(int(order[at]))
        raise DataError(f"{row}: {shape.channels[channel]} is missing; data.options.missing: last allows it")
    filled = values
    if shape.missing == "last":
        filled = np.concatenate([_filled(values[a:b]) for a, b in pairwise(begins)])
    return Rows(values, filled, order, begins, names, times)


def _as_numbers(table: Table, name: str) -> np.ndarray:
    values = times_of(table, name)
    gone = np.isnat(values) if values.dtype.kind == "M" else ~np.isfinite(values)
    if gone.any():
        raise DataError(f"{table.where(int(np.argmax(gone)))}: {name} is missing; every row needs a time")
    return values.astype(np.int64).astype(np.float64) if values.dtype.kind == "M" else values


def _filled(values: np.ndarray) -> np.ndarray:
    """Of one series: each missing value is the last before it. Before the first there is none."""
    filled = values.copy()
    places = np.arange(len(values))
    for channel in filled.T:
        last = np.maximum.accumulate(np.where(np.isnan(channel), -1, places))
        channel[last >= 0] = channel[last[last >= 0]]
    return filled


def starts(rows: Rows, length: int, horizon: int, stride: int, targets: Sequence[int]) -> np.ndarray:
    """Of all whole windows, places of their first rows."""
    every = [np.arange(a, b - length - horizon + 1, stride) for a, b in pairwise(rows.begins)]
    found = np.concatenate(every)
    unread = _before(np.isnan(rows.filled).any(1))
    unknown = _before(np.isnan(rows.values[:, list(targets)]).any(1))
    whole = (unread[found + length] == unread[found]) & (unknown[found + length + horizon] == unknown[found + length])
    kept: np.ndarray = found[whole]
    return kept


def parted(
    rows: Rows, first: np.ndarray, length: int, horizon: int, fraction: float, by_time: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Windows whose targets are all before the cut, and those whose targets are all from it on: a time, or, if rows
    have none, a place in each series."""
    begin, end = rows.times[first + length], rows.times[first + length + horizon - 1]
    if by_time:
        distinct = np.unique(rows.times)
        cut = distinct[-max(1, round(fraction * len(distinct)))]
    else:
        each = np.searchsorted(rows.begins, first, side="right") - 1
        cut = -np.maximum(1, np.round(fraction * np.diff(rows.begins)))[each]
    return first[end < cut], first[begin >= cut]


def _before(marked: np.ndarray) -> np.ndarray:
    """How many are marked before each place."""
    return np.concatenate([[0], np.cumsum(marked)])


def windows(
    rows: Rows, first: np.ndarray, length: int, horizon: int, targets: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """`x (windows, length, channels)`, float32, and `y (windows, targets * horizon)`: of each target all steps."""
    size, free = 4 * len(first) * length * rows.filled.shape[1], psutil.virtual_memory().available
    if size > free:
        raise DataError(
            f"data.options.length: {len(first):,} windows of {length} rows take {size / 1e9:,.1f} GB, and "
            f"{free / 1e9:,.1f} GB are free; data.options.stride leaves some out"
        )
    small = rows.filled.astype(np.float32)
    x = small[first[:, None] + np.arange(length)]
    y = rows.values[first[:, None] + length + np.arange(horizon)][:, :, list(targets)]
    return x, y.transpose(0, 2, 1).reshape(len(first), -1)


def related(x: np.ndarray, targets: Sequence[int], horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows less their last row, and what is to be added to their forecasts `(windows, targets * horizon)`."""
    last = x[:, -1:]
    return x - last, np.repeat(last[:, 0, list(targets)], horizon, axis=1)


def latest(rows: Rows, length: int) -> tuple[np.ndarray, list[str]]:
    """The last `length` rows of each series that has as many, `(series, length, channels)`, and the series' names."""
    found = [
        (b - length, name) for (a, b), name in zip(pairwise(rows.begins), rows.names, strict=True) if b - a >= length
    ]
    if not found:
        return np.zeros((0, length, rows.filled.shape[1])), []
    return rows.filled[np.array([at for at, _ in found])[:, None] + np.arange(length)], [name for _, name in found]
