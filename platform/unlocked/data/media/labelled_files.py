"""Files with labels as `RawData`: what a folder or a table says of them, the classes by id, and the splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from unlocked.data.dataset import RawData
from unlocked.data.files.source import Source, inside
from unlocked.data.media.file_trees import Kind, placed, tree
from unlocked.data.splits import Splits, Where
from unlocked.data.tables.columns import texts
from unlocked.data.tables.table import Table, read_table
from unlocked.data.tables.targets import refuse_lonely, refuse_untrained, targets_of
from unlocked.data.transforms.disturbed import Standardise
from unlocked.errors import DataError

SPLIT = "folder"  # stands for the column of `Splits.split` if the folders say it
CLASSES, VALUES = "classification", "regression"


@dataclass(frozen=True, eq=False)
class Labelled:
    """All files of a set, and their targets: those that `splits` divides, and after them those of splits of their own,
    `own` of each. `columns`: what `Splits.parts` is given."""

    paths: list[Path]
    y: np.ndarray
    names: list[str]
    splits: Splits
    where: Where
    columns: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    task: str = CLASSES
    refuse_untrained: Callable[[np.ndarray], None] = lambda train: None


def labelled(source: Source, splits: Splits, file: str, kind: Kind, path: str, target: str, task: str) -> Labelled:
    """Of the folder or the table `file`, whose columns `path` and `target` name files and labels. Raises `DataError`,
    one line."""
    place = placed(source, "file", file)
    if not place.is_dir():
        return _in_table(source, splits, place, kind, path, target, task)
    if task != CLASSES:
        raise DataError(f"data.options.task: folders are classes; a table of files has values, for {task}")
    return _in_folder(source, splits, place, kind)


def _in_folder(source: Source, splits: Splits, folder: Path, kind: Kind) -> Labelled:
    if splits.columns:
        key = next(key for key in ("split", "group", "time") if getattr(splits, key) is not None)
        raise DataError(f"data.options.{key}: names a column, and a folder has none; name the files in a table")
    whole = tree(folder, kind)
    paths, labels, own = list(whole.paths), list(whole.labels), {}
    columns: dict[str, Any] = {}
    if whole.split is not None:
        given = [key for key in ("validation_file", "folds") if getattr(splits, key) is not None]
        if splits.test_file or given:
            key = "test" if splits.test_file else given[0]
            raise DataError(f"data.options.{key}: {folder} has its own folders train and test; leave it out")
        splits, columns = Splits(split=SPLIT), {"split": whole.split}
    for part, key, place in _own(splits):
        more = tree(placed(source, key, place), kind)
        if more.split is not None:
            raise DataError(f"data.options.{key}: {more.folder} has folders of splits; name one with classes alone")
        paths, labels, own[part] = paths + more.paths, labels + more.labels, len(more.paths)
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(f"{folder}: all {kind.named} are of one class, {names[0]!r}; there have to be two")
    y = np.array([names.index(label) for label in labels])
    if not own and whole.split is None:
        lonely = np.flatnonzero(np.bincount(y) == 1)
        if len(lonely):
            at = int(np.argmax(y == lonely[0]))
            raise DataError(
                f"{paths[at]}: is the only one of the class {labels[at]!r}; a class needs files in every split"
            )

    def refuse(train: np.ndarray) -> None:
        known = set(y[train].tolist())
        row = next((row for row, each in enumerate(y.tolist()) if each not in known), None)
        if row is not None:
            raise DataError(f"{paths[row]}: is of the class {labels[row]!r}, which no training file is of")

    return Labelled(paths, y, names, splits, lambda row: str(paths[row]), columns, own, CLASSES, refuse)


def _own(splits: Splits) -> list[tuple[str, str, str]]:
    """Of splits that have a file or folder of their own: the split, the option, and what it names."""
    given = [("test", "test", splits.test_file), ("validation", "validation_file", splits.validation_file)]
    return [(part, key, place) for part, key, place in given if place is not None]


def _in_table(source: Source, splits: Splits, file: Path, kind: Kind, path: str, target: str, task: str) -> Labelled:
    whole = read_table(file)
    others = {part: read_table(placed(source, key, place)) for part, key, place in _own(splits)}
    tables = {"train": whole, **others}
    for found in tables.values():
        _refuse_missing(found, target, "data.options.target")
    names, y = targets_of(tables, [target], task)
    if task == CLASSES and not splits.columns and splits.test_file is None:
        refuse_lonely(whole, target, y["train"])
    paths = {part: paths_of(found, path, kind) for part, found in tables.items()}
    columns = {
        key: _column(whole, column, key)
        for key in ("split", "group", "time")
        if (column := getattr(splits, key)) is not None
    }

    def refuse(train: np.ndarray) -> None:
        if task == CLASSES:
            refuse_untrained(whole, others, target, y, train)

    return Labelled(
        [each for found in paths.values() for each in found],
        np.concatenate(list(y.values())),
        names,
        splits,
        whole.where,
        columns,
        {part: len(found) for part, found in others.items()},
        task,
        refuse,
    )


def _column(found: Table, name: str, key: str) -> np.ndarray:
    from unlocked.data.tables.columns import times_of

    column = found.column(name, f"data.options.{key}")
    return times_of(found, name) if key == "time" else np.array(texts(column, found.of(name)).to_pylist(), object)


def _refuse_missing(found: Table, name: str, key: str) -> None:
    there = found.column(name, key).is_valid().to_numpy()
    if not there.all():
        raise DataError(f"{found.where(int(np.argmin(there)))}: {name} is missing")


def paths_of(found: Table, column: str, kind: Kind, key: str = "data.options.path") -> list[Path]:
    """Of the files that a column names, from the folder of the table on."""
    _refuse_missing(found, column, key)
    folder, paths = found.path.parent, []
    for row, name in enumerate(texts(found.columns[column], found.of(column)).to_pylist()):
        place = folder / str(name)
        if not place.is_file():
            raise DataError(f"{found.where(row)}: the file {name} is not in {folder}")
        paths.append(inside(place, folder, f"{found.where(row)}: {name}"))
        if not kind.takes(place.name):
            raise DataError(f"{found.where(row)}: {name} is none of the {kind.named} ({' '.join(kind.suffixes)})")
    return paths


def raw_data(
    source: Source,
    found: Labelled,
    read: Callable[[Sequence[Path]], tuple[np.ndarray, dict[str, np.ndarray]]],
    **traits: Any,
) -> RawData:
    """`read` gives inputs of all files and extras of them; `traits`: other keywords of `RawData`.

    Raises `DataError` for a class that the training split has no file of.
    """
    first = len(found.y) - sum(found.own.values())
    labels = found.y[:first] if found.task == CLASSES else None
    parts = found.splits.parts(source, first, labels=labels, **found.columns, where=found.where)
    found.refuse_untrained(parts.train)
    x, extras = read(found.paths)
    given = parts.arrays(x[:first], found.y[:first], {name: values[:first] for name, values in extras.items()})
    for part, count in found.own.items():
        rows = slice(first, first + count)
        given |= {f"x_{part}": x[rows], f"y_{part}": found.y[rows]}
        given[f"extras_{part}"] = {name: values[rows] for name, values in extras.items()}
        first += count
    transforms = [Standardise()] if found.task == VALUES else []
    return RawData(**given, class_names=found.names, transforms=transforms, **traits)


def refuse_too_many(what: str, count: int, each: int) -> None:
    """Raises `DataError` if so many inputs of so many bytes do not fit into the memory that is free."""
    free = psutil.virtual_memory().available
    if count * each > free:
        raise DataError(f"{what} take {count * each / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free")
