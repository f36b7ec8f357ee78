"""Series of one's own: rows of a CSV, JSON lines or Parquet file in the order of time, to be forecast."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.csv import Format
from unlocked.data.files.source import Source
from unlocked.data.loading.targets import BASE
from unlocked.data.splits import Splits, with_splits
from unlocked.data.tables import series_look as _look  # noqa: F401  (registers it)
from unlocked.data.tables.series import Shape, channels_of, parted, related, rows_of, starts, windows
from unlocked.data.tables.table import located, read_table
from unlocked.data.transforms.disturbed import Standardise
from unlocked.errors import DataError

Missing = Literal["last", "drop", "refuse"]


@register_data("series", task="regression", family="series")
@with_splits(without=("split", "folds", "fold", "group"))
def series(
    source: Source,
    splits: Splits,
    file: str,
    target: str | list[str] | None = None,
    columns: list[str] | None = None,
    drop: list[str] | None = None,
    series: str | None = None,
    length: int = 32,
    horizon: int = 1,
    stride: int = 1,
    missing: Missing = "last",
    empty: list[str] | None = None,
    relative: bool = False,
    standardise: bool = True,
    encoding: str | None = None,
    separator: str | None = None,
    quote: str | None = None,
    header: bool | None = None,
    skip: int = 0,
) -> RawData:
    """Series in a CSV, JSON lines or Parquet file of your own: of `length` rows the `horizon` rows after them are
    forecast.

    Channels are the `columns`, all of numbers if none are named but those to `drop`; forecast are those in `target`, or
    all. `time`: the column to sort by; `series`: that of which series a row is. Windows begin `stride` rows apart. A
    `missing` value is read as the last one before it, or its windows are dropped, or the file refused; a window without
    its targets is left out. `relative`: what is read and forecast is the difference to the last row that is read, so
    that a trend goes on. The last rows by `test`, of each series or of all times, are the test split: no row that is a
    target there is read or forecast in training. Targets are standardised for the loss, metrics in their own units.
    """
    for key, value in (("length", length), ("horizon", horizon), ("stride", stride)):
        if value < 1:
            raise DataError(f"data.options.{key}: must be at least 1, got {value}")
    how = Format(encoding, separator, quote, header, skip, tuple(empty or ()))
    table = read_table(located(source, "data.options.file", file), how)
    for name in drop or ():
        table.column(name, "data.options.drop")
    channels = channels_of(table, columns, [splits.time, series, *(drop or ())])
    targets = channels if target is None else [target] if isinstance(target, str) else list(target)
    for name in targets:
        table.column(name, "data.options.target")
        if name not in channels:
            raise DataError(f"data.options.target: {name!r} is none of the channels ({', '.join(channels)})")
    at = [channels.index(name) for name in targets]
    shape = Shape(tuple(channels), length, splits.time, series, missing, relative)

    whole = rows_of(table, shape)
    first = starts(whole, length, horizon, stride, at)
    if not len(first):
        longest = int(np.diff(whole.begins).max())
        raise DataError(
            f"{table.path}: no window of {length} + {horizon} rows has all its values; the longest series has {longest}"
        )
    given: dict[str, Any] = {}
    if splits.test_file is None:
        assert not isinstance(splits.test, str)
        train, test = parted(whole, first, length, horizon, splits.test, splits.time is not None)
        for part, chosen in (("train", train), ("test", test)):
            if not len(chosen):
                raise DataError(
                    f"{table.path}: no window of {length} + {horizon} rows is left for the {part} split; "
                    "data.options.length, horizon and test say how long they are"
                )
            given[f"x_{part}"], given[f"y_{part}"] = windows(whole, chosen, length, horizon, at)
    else:
        train = first
        given["x_train"], given["y_train"] = windows(whole, first, length, horizon, at)
    for part, place in (("test", splits.test_file), ("validation", splits.validation_file)):
        if place is not None:
            key = "test" if part == "test" else "validation_file"
            other = rows_of(read_table(located(source, f"data.options.{key}", place), how), shape)
            chosen = starts(other, length, horizon, stride, at)
            if not len(chosen):
                raise DataError(f"data.options.{key}: {place} has no window of {length} + {horizon} rows")
            given[f"x_{part}"], given[f"y_{part}"] = windows(other, chosen, length, horizon, at)
    if relative:
        for part in [name[2:] for name in given if name.startswith("x_")]:
            given[f"x_{part}"], last = related(given[f"x_{part}"], at, horizon)
            given[f"y_{part}"], given[f"extras_{part}"] = given[f"y_{part}"] - last, {BASE: last}
    files = {"kind": "series", **asdict(shape), "channels": channels, "targets": at, "horizon": horizon}
    return RawData(
        **given,
        class_names=[_name(name, step, horizon) for name in targets for step in range(horizon)],
        normalise="train",
        times_train=whole.times[train + length],
        files={**files, "format": how.to_json()},
        transforms=[Standardise()] if standardise else [],
    )


def _name(target: str, step: int, horizon: int) -> str:
    return target if horizon == 1 else f"{target} +{step + 1}"
