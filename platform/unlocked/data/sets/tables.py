"""A table of one's own: CSV, JSON lines or Parquet, a row for each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.arrow import pc
from unlocked.data.files.csv import Format
from unlocked.data.files.source import Source
from unlocked.data.splits import Splits, with_splits
from unlocked.data.tables import columns as of
from unlocked.data.tables import look as _look  # noqa: F401  (registers it)
from unlocked.data.tables.table import Table, listed, located, read_table
from unlocked.data.tables.targets import refuse_lonely, refuse_untrained, targets_of
from unlocked.data.transforms.disturbed import Standardise
from unlocked.errors import DataError

Task = Literal["classification", "regression", "binary_classification", "multi_label", "ordinal"]
Missing = Literal["fill", "indicate", "drop", "refuse"]
CLASSES = ("classification", "binary_classification", "ordinal")


@register_data("table", task="classification", family="files")
@with_splits()
def table(
    source: Source,
    splits: Splits,
    file: str,
    target: str | list[str],
    task: Task = "classification",
    columns: list[str] | None = None,
    drop: list[str] | None = None,
    categorical: list[str] | None = None,
    categories: int = 100,
    missing: Missing = "fill",
    empty: list[str] | None = None,
    standardise: bool = True,
    encoding: str | None = None,
    separator: str | None = None,
    quote: str | None = None,
    header: bool | None = None,
    skip: int = 0,
) -> RawData:
    """A CSV, JSON lines or Parquet file of your own; `target`: the column, or columns, to be predicted.

    `task`: what the target is. All other columns are inputs, or `columns` alone, but those to `drop` and those that say
    how rows are split. Texts are categories, one-hot, of a column the `categories` most frequent; so are the
    `categorical` numbers. A `missing` number is read as the median of the training rows (fill), with a feature that
    says so (indicate); or its row is dropped, or refused. `empty`: more words for a missing value; `skip`: lines
    above the table. Rows without a target are left out. Values of a regression are standardised for the loss;
    metrics are in their own units.
    """
    if categories < 1:
        raise DataError(f"data.options.categories: must be at least 1, got {categories}")
    how = Format(encoding, separator, quote, header, skip, tuple(empty or ()))
    targets = [target] if isinstance(target, str) else list(target)
    chosen = Chosen(targets, columns, drop or [], categorical or [], missing, splits)
    whole = chosen.rows(read_table(located(source, "data.options.file", file), how))
    names = chosen.inputs(whole)
    own = {
        part: chosen.rows(read_table(located(source, f"data.options.{key}", place), how))
        for part, key, place in (
            ("test", "test", splits.test_file),
            ("validation", "validation_file", splits.validation_file),
        )
        if place is not None
    }
    classes, y = targets_of({"train": whole, **own}, targets, task)
    labels = y["train"] if task in CLASSES else None
    if labels is not None and splits.test_file is None and splits.columns == []:
        refuse_lonely(whole, targets[0], labels)
    parts = splits.parts(source, len(whole), labels=labels, **chosen.split_columns(whole), where=whole.where)
    if task in CLASSES:
        refuse_untrained(whole, own, targets[0], y, parts.train)
    learned = of.learned(
        whole, names, chosen.categorical, missing, categories, splits.learned_from(source, parts, labels)
    )
    given = parts.arrays(of.encoded(whole, learned)[0], y["train"])
    for part, more in own.items():
        given |= {f"x_{part}": of.encoded(more, learned)[0], f"y_{part}": y[part]}
    features = [feature for column in learned for feature in column.features]
    return RawData(
        **given,
        class_names=classes[1:] if task == "binary_classification" else classes,
        normalise="train",
        features=_different(features),
        plain=[plain for column in learned for plain in column.plain],
        files=of.to_json(learned, how) | {"task": task, "classes": classes},
        transforms=[Standardise()] if task == "regression" and standardise else [],
    )


class Chosen:
    """Which columns of a table are what."""

    def __init__(
        self,
        targets: Sequence[str],
        columns: Sequence[str] | None,
        drop: Sequence[str],
        categorical: Sequence[str],
        missing: str,
        splits: Splits,
    ):
        self.targets, self.columns, self.drop = targets, columns, drop
        self.categorical, self.missing, self.splits = categorical, missing, splits
        if not targets:
            raise DataError("data.options.target: names no column")

    def inputs(self, found: Table) -> list[str]:
        """Raises `DataError` for a column that is not there, or that is an input and something else."""
        for key in ("columns", "drop", "categorical"):
            for name in getattr(self, key) or ():
                found.column(name, f"data.options.{key}")
        taken = {*self.targets, *self.splits.columns}
        both = [name for name in self.columns or () if name in taken]
        if both:
            raise DataError(f"data.options.columns: {both[0]!r} is a target, or says how rows are split: no input")
        names = [name for name in self.columns or found.columns if name not in taken and name not in self.drop]
        if not names:
            raise DataError(f"{found.path}: no column is left as an input (it has {listed(found.columns)})")
        return names

    def rows(self, found: Table) -> Table:
        """Those with a target, and, if it is asked for, with a value in all inputs."""
        whole = np.ones(len(found), bool)
        for name in self.targets:
            there = pc.is_valid(found.column(name, "data.options.target")).to_numpy()
            if self.missing == "refuse" and not there.all():
                raise DataError(f"{found.where(int(np.argmin(there)))}: the target {name} is missing")
            whole &= there
        if not whole.any():
            raise DataError(f"{found.path}: no row has a value of {', '.join(self.targets)}, the target")
        kept = found if whole.all() else found.taken(np.flatnonzero(whole))
        return of.refuse_or_drop(kept, self.inputs(kept), self.missing)

    def split_columns(self, found: Table) -> dict[str, Any]:
        """Values for `Splits.parts`."""
        given: dict[str, Any] = {}
        for key in ("split", "group", "time"):
            name = getattr(self.splits, key)
            if name is None:
                continue
            column = found.column(name, f"data.options.{key}")
            given[key] = (
                of.times_of(found, name)
                if key == "time"
                else np.array(of.texts(column, found.of(name)).to_pylist(), object)
            )
        return given


def _different(names: Sequence[str]) -> list[str]:
    """With a number after those that stand again."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
