"""Targets from columns of a table: class ids with their names, zeros and ones, or values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlocked.data.files.arrow import pc, pyarrow, types
from unlocked.data.tables.columns import texts
from unlocked.data.tables.table import Table, listed, refuse_mixed
from unlocked.errors import DataError
from unlocked.options import as_written

MOST_CLASSES = 1000


def targets_of(tables: dict[str, Table], names: Sequence[str], task: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Classes or names of the targets, and targets by table: class ids, zeros and ones, or values."""
    if task == "regression":
        return list(names), {
            part: np.stack([_values(each, name) for name in names], 1) for part, each in tables.items()
        }
    if task == "multi_label":
        return list(names), {
            part: np.stack([labels_of(each, name) for name in names], 1) for part, each in tables.items()
        }
    if len(names) > 1:
        raise DataError(
            f"data.options.target: {task} has one target, not {len(names)}; multi_label or regression has several"
        )
    (name,) = names
    whole = tables["train"]
    given = {part: texts(each.column(name, "data.options.target"), each.of(name)) for part, each in tables.items()}
    kind = whole.columns[name].type
    if types.is_floating(kind) and not pc.all(pc.equal(whole.columns[name], pc.round(whole.columns[name]))).as_py():
        row = pc.index(pc.equal(whole.columns[name], pc.round(whole.columns[name])), False).as_py()
        raise DataError(
            f"{whole.where(row)}: the target {name} is {whole.columns[name][row].as_py()}, which is no class; for "
            "values set data.options.task=regression"
        )
    classes = sorted({str(each) for column in given.values() for each in column.unique().to_pylist()}, key=_in_order)
    if len(classes) > min(MOST_CLASSES, len(whole) - 1):
        remedy = "; for values set data.options.task=regression" if not types.is_string(kind) else ""
        raise DataError(f"{whole.path}: the target {name} has {len(classes):,} classes in {len(whole):,} rows{remedy}")
    if len(classes) < 2:
        raise DataError(f"{whole.path}: the target {name} is {classes[0]!r} in every row; there have to be two classes")
    if task == "binary_classification" and len(classes) != 2:
        raise DataError(f"{whole.path}: the target {name} has {len(classes)} classes ({listed(classes)}), not two")
    ids = {part: pc.index_in(column, value_set=pyarrow.array(classes)).to_numpy() for part, column in given.items()}
    return classes, {part: each.astype(np.int64) for part, each in ids.items()}


def _in_order(text: str) -> tuple[bool, float, str]:
    """Numbers by value, before texts."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _values(found: Table, name: str) -> np.ndarray:
    column = found.column(name, "data.options.target")
    if types.is_string(column.type):
        refuse_mixed(found, name)
        raise DataError(
            f"{found.where(0)}: the target {name} is {column[0].as_py()!r}, which is no number; for classes leave "
            "data.options.task out"
        )
    if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type)):
        raise DataError(f"{found.path}: the target {name} holds {column.type}; regression needs numbers")
    values: np.ndarray = column.cast(pyarrow.float64(), safe=False).to_numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{found.where(int(np.argmin(np.isfinite(values))))}: the target {name} is infinite")
    return values


def labels_of(found: Table, name: str) -> np.ndarray:
    """Zeros and ones."""
    values = texts(found.column(name, "data.options.target"), found.of(name))
    known = pyarrow.array(["0", "1", "false", "true", "no", "yes"])
    places = pc.fill_null(pc.index_in(pc.utf8_lower(values), value_set=known), -1).to_numpy()
    if (places < 0).any():
        row = int(np.argmax(places < 0))
        raise DataError(
            f"{found.where(row)}: the target {name} is {values[row].as_py()!r}, not 0 or 1 (or yes, true, ...)"
        )
    zeros: np.ndarray = (places % 2).astype(np.int64)
    return zeros


def refuse_lonely(found: Table, name: str, labels: np.ndarray) -> None:
    """Raises `DataError` for a class of one row, which no fraction of both splits can have."""
    counts = np.bincount(labels)
    lonely = np.flatnonzero(counts == 1)
    if len(lonely):
        row = int(np.argmax(labels == lonely[0]))
        text = str(texts(found.columns[name], found.of(name))[row].as_py())
        also = f" (and {len(lonely) - 1} more classes)" if len(lonely) > 1 else ""
        raise DataError(
            f"{found.where(row)}: the only one with {name} {as_written(text)!r}{also}; a class needs rows in every "
            "split: leave it out, or give test a file or split a column"
        )


def refuse_untrained(
    whole: Table, own: dict[str, Table], name: str, y: dict[str, np.ndarray], train: np.ndarray
) -> None:
    """Raises `DataError`, with the row, for a class that no training row is of."""
    known = np.unique(y["train"][train])
    for part, found in {"train": whole, **own}.items():
        strange = ~np.isin(y[part], known)
        if strange.any():
            row = int(np.argmax(strange))
            text = texts(found.columns[name], found.of(name))[row].as_py()
            raise DataError(f"{found.where(row)}: {name} is {text!r}, a class that no training row has")
