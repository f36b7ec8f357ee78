"""A table as `unlocked data` shows it: its columns, what each is read as, the classes, and what to mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.arrow import pc, pyarrow, types
from unlocked.data.files.csv import Format
from unlocked.data.files.looking import Look, Rows, register_look
from unlocked.data.files.source import Source
from unlocked.data.tables.columns import CATEGORY, DATE, NUMBER, is_dates, kind_of, texts, times_of
from unlocked.data.tables.table import CSV, ENDINGS, Table, read_table
from unlocked.data.tables.targets import MOST_CLASSES
from unlocked.errors import DataError

TARGETS = ("target", "label", "class", "y", "species", "outcome", "category")  # names that say it
TIMES = ("time", "date", "datetime", "timestamp", "day", "week", "month", "year", "ds")
FEW_CLASSES, RARE = 30, 5
UNREAD = "not an input"
_SHOWN = 12  # classes
_STEPS = 3000  # that a first training takes


def fits(path: Path) -> int:
    """A text may also be one to be read."""
    ending = path.suffix.lower()
    if not path.is_file() or ending not in ENDINGS:
        return 0
    return 1 if ending == ".txt" else 2 if ending in CSV else 3


@register_look("table", fits=fits, guessed=("target",))
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    given = {
        key: options[key]
        for key in ("encoding", "separator", "quote", "header", "skip")
        if options.get(key) is not None
    }
    table = read_table(path, Format(**given, empty=tuple(options.get("empty") or ())))
    notes = list(table.notes)
    columns, dropped, empty = _columns(table, options, notes)
    usable = [row["column"] for row in columns if row["read as"] == NUMBER or 1 < row["distinct"] <= MOST_CLASSES]
    targets = options.get("target") or _guess(table, [name for name in usable if name not in dropped])
    targets = [targets] if isinstance(targets, str) else list(targets)
    if not options.get("target"):
        notes.append(f"the target is a guess: {targets[0]} (target=COLUMN says another)")
    for name in targets:
        table.column(name, "data.options.target")
    task = options.get("task") or _task(table, targets)
    lacking = sum(table.columns[name].null_count for name in targets)
    if lacking:
        notes.append(f"{lacking:,} rows have no value of {', '.join(targets)}, the target: they are left out")
    tables = {"columns": columns}
    if task != "regression" and len(targets) == 1:
        tables[f"classes of {targets[0]}"] = _classes(table, targets[0], notes)
    notes += [f"rows are in the order of {name}: --as series forecasts what comes next" for name in _in_time(table)[:1]]
    drop = [name for name in dict.fromkeys([*(options.get("drop") or []), *dropped]) if name not in targets]
    words = [*(options.get("empty") or []), *empty]
    chosen = {**options, "file": str(path), "target": targets if len(targets) > 1 else targets[0]}
    chosen |= ({"task": task} if task != "classification" else {}) | ({"drop": drop} if drop else {})
    chosen |= {"empty": words} if words else {}
    missing = sum(column.null_count for column in table.columns.values())
    counts = {"rows": len(table), "columns": len(table.columns), "missing values": missing}
    return Look(table.read_as, counts, tables, notes, _configuration(len(table), chosen))


def _columns(table: Table, options: Mapping[str, Any], notes: list[str]) -> tuple[Rows, list[str], list[str]]:
    """What is shown of each, those that are better left out, and words that stand for a missing value."""
    rows, dropped, words = Rows(), list[str](), list[str]()
    for name, column in table.columns.items():
        distinct = (
            pc.count_distinct(column, mode="only_valid").as_py()
            if not types.is_nested(column.type) and not types.is_null(column.type)
            else 0
        )
        read_as, why = UNREAD, None
        try:
            kind = kind_of(table, name, options.get("categorical") or ())
            read_as, why = kind, _why_not(table, name, kind, distinct)
        except DataError as error:
            why = str(error)
            if types.is_string(column.type):
                read_as, why = "numbers and texts", str(error)
                words.append(_strange(table, name))
        if why is not None:
            notes.append(why)
            if read_as != "numbers and texts" and name not in (options.get("columns") or ()):
                dropped.append(name)
        most = options.get("categories") or 100
        if read_as == CATEGORY and why is None and distinct > most:
            notes.append(f"{name} has {distinct:,} categories, of which the {most} most frequent are inputs")
        values = _values(column, read_as)
        rows.append(
            {"column": name, "read as": read_as, "distinct": distinct, "missing": column.null_count, "values": values}
        )
    return rows, dropped, words


def _in_time(table: Table) -> list[str]:
    """Columns of dates, each later than the one before it; also of whole numbers whose name says time."""
    dates = [
        name
        for name, column in table.columns.items()
        if not column.null_count
        and (is_dates(column.type) or (name.lower() in TIMES and types.is_integer(column.type)))
    ]
    return [
        name for name in dates if len(table) > 2 and bool((np.diff(times_of(table, name).view(np.int64)) > 0).all())
    ]


def _strange(table: Table, name: str) -> str:
    numbers = pc.match_substring_regex(table.columns[name], r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return str(table.columns[name][pc.index(pc.fill_null(numbers, True), False).as_py()].as_py())


def _why_not(table: Table, name: str, kind: str, distinct: int) -> str | None:
    """Why it should be no input."""
    column = table.columns[name]
    if distinct == 1 and not column.null_count:
        return f"{name} is the same in every row"
    if kind == NUMBER and types.is_integer(column.type) and not column.null_count and distinct == len(table) > 2:
        values = column.to_numpy()
        if values[0] in (0, 1) and (np.diff(values) == 1).all():
            return f"{name} counts the rows"
    if kind == CATEGORY and len(table) > RARE and distinct > max(20, 0.5 * (len(table) - column.null_count)):
        return f"{name} is another text in nearly every row"
    return None


def _values(column: pyarrow.ChunkedArray, kind: str) -> str:
    there = column.drop_null()
    if not len(there) or kind == UNREAD:
        return ""
    if kind in (NUMBER, DATE) and not types.is_boolean(column.type):
        ends = pc.min_max(there).as_py()
        return " to ".join(f"{ends[end]:g}" if kind == NUMBER else str(ends[end]) for end in ("min", "max"))
    found = sorted(pc.value_counts(there).to_pylist(), key=lambda each: (-each["counts"], str(each["values"])))
    shown = ", ".join(str(each["values"])[:20] for each in found[:4])
    return shown + (", ..." if len(found) > 4 else "")


def _guess(table: Table, usable: Sequence[str]) -> str:
    """One of a telling name, else the first column if it alone is of texts, else the last."""
    names = {name.lower() for name in usable}
    named = [name for name in usable if name.lower() in TARGETS and not (name.lower() == "y" and "x" in names)]
    words = [name for name in usable if types.is_string(table.columns[name].type)]
    return [*named, *(words if words == usable[:1] else []), *reversed(usable), *table.columns][0]


def _task(table: Table, targets: Sequence[str]) -> str:
    kinds = [table.columns[name].type for name in targets]
    if len(targets) > 1:
        return (
            "regression" if all(types.is_floating(kind) or types.is_integer(kind) for kind in kinds) else "multi_label"
        )
    (column,) = (table.columns[name] for name in targets)
    if types.is_integer(kinds[0]) and pc.count_distinct(column).as_py() <= min(FEW_CLASSES, len(column) // 3):
        return "classification"
    return "regression" if types.is_integer(kinds[0]) or types.is_floating(kinds[0]) else "classification"


def _classes(table: Table, name: str, notes: list[str]) -> Rows:
    counted = pc.value_counts(texts(table.columns[name], table.of(name)).drop_null()).to_pylist()
    counts = sorted(((each["counts"], str(each["values"])) for each in counted), key=lambda each: (-each[0], each[1]))
    rare = [value for count, value in counts if count < RARE]
    if rare:
        few = f"{len(rare)} classes have" if len(rare) > 1 else "a class has"
        notes.append(f"{few} fewer than {RARE} rows, {rare[0]!r}: too few for every split")
    if len(counts) == 1:
        notes.append(f"{name} is {counts[0][1]!r} in every row: there have to be two classes")
    total = sum(count for count, _ in counts)
    rows = [{"class": value, "rows": count, "share": f"{count / total:.1%}"} for count, value in counts[:_SHOWN]]
    if len(counts) > _SHOWN:
        left = sum(count for count, _ in counts[_SHOWN:])
        rows.append({"class": f"({len(counts) - _SHOWN} more)", "rows": left, "share": f"{left / total:.1%}"})
    return rows


def _configuration(rows: int, options: Mapping[str, Any]) -> dict[str, Any]:
    batch = batch_size(rows)
    return {
        "data": {"name": "table", "batch_size": batch, "validation": 0.1, "options": dict(options)},
        "model": {"name": "mlp", "hidden": [64, 64], "norm": "batch"},
        "optimizer": {"name": "adam", "lr": 1e-3, "schedule": "cosine"},
        "train": {"epochs": epochs(rows, batch)},
    }


def batch_size(rows: int) -> int:
    """A power of two, at least twenty of which are an epoch."""
    return int(min(128, max(4, 2 ** int(np.log2(max(rows / 20, 1))))))


def epochs(rows: int, batch: int) -> int:
    return int(min(100, max(3, round(_STEPS * batch / rows))))
