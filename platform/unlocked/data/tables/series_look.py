"""A series as `unlocked data FILE --as series` shows it: its time, its channels, gaps, and what to mind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.arrow import types
from unlocked.data.files.csv import Format
from unlocked.data.files.looking import Look, register_look
from unlocked.data.files.source import Source
from unlocked.data.tables.columns import is_dates, times_of
from unlocked.data.tables.look import TIMES, batch_size, epochs
from unlocked.data.tables.series import Rows, Shape, channels_of, rows_of
from unlocked.data.tables.table import ENDINGS, Table, read_table

_SHOWN = 12  # series
_DAY = 86_400e6  # microseconds


def fits(path: Path) -> int:
    """If need be: a table is read as a table."""
    return int(path.is_file() and path.suffix.lower() in ENDINGS)


@register_look("series", fits=fits)
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    said = {key: options[key] for key in ("encoding", "separator", "quote", "header", "skip") if options.get(key)}
    table = read_table(path, Format(**said, empty=tuple(options.get("empty") or ())))
    notes = list(table.notes)
    time = options.get("time") or time_of(table)
    named = options.get("series") or (series_of(table, time) if time else None)
    for key, value in (("time", time), ("series", named)):
        if value and not options.get(key):
            notes.append(f"{key} is a guess: {value} ({key}=COLUMN says another)")
    counted = [name for name in table.columns if _counts_rows(table, name)]
    drop = [*(options.get("drop") or ()), *(name for name in counted if name != time)]
    channels = channels_of(table, options.get("columns"), [time, named, *drop])
    length, horizon = options.get("length") or 32, options.get("horizon") or 1
    rows = rows_of(table, Shape(tuple(channels), length, time, named))
    notes += _gaps(rows, time is not None and times_of(table, time).dtype.kind == "M")
    sizes = np.diff(rows.begins)
    short = int((sizes < length + horizon).sum())
    if short:
        notes.append(f"{short} of {len(sizes)} series are shorter than length {length} and horizon {horizon}: not read")
    tables = {"channels": [_channel(name, column) for name, column in zip(channels, rows.values.T, strict=True)]}
    if named:
        tables["series"] = [
            {"series": name, "rows": int(size)} for name, size in zip(rows.names[:_SHOWN], sizes, strict=False)
        ]
    counts = {"rows": len(table), "series": len(sizes), "channels": len(channels)}
    counts |= {"missing values": int(np.isnan(rows.values).sum())}
    chosen = {**options, "file": str(path)} | ({"time": time} if time else {}) | ({"series": named} if named else {})
    chosen |= ({"drop": drop} if drop else {}) | {"length": length, "horizon": horizon}
    return Look(table.read_as, counts, tables, notes, _configuration(len(table), chosen))


def time_of(table: Table) -> str | None:
    """The first column of dates, else one of numbers whose name says it."""
    dates = [name for name, column in table.columns.items() if is_dates(column.type)]
    named = [name for name in table.columns if name.lower() in TIMES and types.is_integer(table.columns[name].type)]
    return next(iter([*dates, *named]), None)


def series_of(table: Table, time: str) -> str | None:
    """A column of texts in each of whose values no time stands twice, if times do stand twice."""
    times = times_of(table, time)
    if len(np.unique(times)) == len(times):
        return None
    for name, column in table.columns.items():
        if name != time and types.is_string(column.type) and not column.null_count:
            codes = np.unique(np.array(column.to_pylist(), str), return_inverse=True)[1]
            if len(np.unique(np.stack([codes, np.unique(times, return_inverse=True)[1]]), axis=1).T) == len(times):
                return name
    return None


def _counts_rows(table: Table, name: str) -> bool:
    column = table.columns[name]
    if not types.is_integer(column.type) or column.null_count or len(column) < 3:
        return False
    values = column.to_numpy()
    return bool(values[0] in (0, 1) and (np.diff(values) == 1).all())


def _gaps(rows: Rows, days: bool) -> list[str]:
    """Where the step of time is another than usual."""
    steps = np.diff(rows.times)
    inside = np.ones(len(steps), bool)
    inside[rows.begins[1:-1] - 1] = False
    steps, places = steps[inside], np.flatnonzero(inside)
    if not len(steps):
        return []
    values, counts = np.unique(steps, return_counts=True)
    usual = values[counts.argmax()]
    odd = np.flatnonzero(steps > 1.5 * usual)
    if not len(odd):
        return []
    unit, name = (_DAY, " days") if days else (1.0, "")
    row = int(rows.row[places[odd[0]] + 1]) + 1
    return [
        f"time goes on by {usual / unit:g}{name} mostly, and by {steps[odd[0]] / unit:g} before row {row} (in all "
        f"{len(odd):,} gaps); windows do not look at that"
    ]


def _channel(name: str, values: np.ndarray) -> dict[str, Any]:
    there = values[~np.isnan(values)]
    shown = {"mean": f"{there.mean():.4g}", "from": f"{there.min():g}", "to": f"{there.max():g}"} if len(there) else {}
    return {
        "channel": name,
        "missing": len(values) - len(there),
        **(shown or dict.fromkeys(("mean", "from", "to"), "")),
    }


def _configuration(rows: int, options: Mapping[str, Any]) -> dict[str, Any]:
    batch = batch_size(rows)
    return {
        "data": {"name": "series", "batch_size": batch, "validation": 0.1, "options": dict(options)},
        "model": {"name": "gru", "hidden": [32, 32]},
        "optimizer": {"name": "adam", "lr": 3e-3, "schedule": "cosine", "clip_norm": 1.0},
        "train": {"epochs": epochs(rows, batch)},
    }
