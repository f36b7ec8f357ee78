"""Files with labels as `RawData`: what a folder or a table says of them, the classes by id, and the splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from unlocked.data.dataset import RawData
from unlocked.data.file_trees import Kind, Tree, placed, tree
from unlocked.data.source import Source
from unlocked.data.splits import Splits
from unlocked.errors import DataError

SPLIT = "folder"  # stands for the column of `Splits.split` if the folders say it


@dataclass(frozen=True, eq=False)
class Labelled:
    """All files of a set: those of `splits`, which `rows` says, and those of splits of their own after them."""

    paths: list[Path]
    labels: list[str]
    splits: Splits
    split: list[str] | None = None
    own: dict[str, int] | None = None  # how many files test and validation have of their own, at the end


def in_folder(source: Source, splits: Splits, option: str, name: str, kind: Kind) -> Labelled:
    """A folder for every class, `test` and `validation_file` others of the same. Raises `DataError`, one line."""
    if splits.columns:
        raise DataError(
            f"data.options.{_first_column(splits)}: names a column, and a folder has none; name the files in a table, "
            "data.options.file"
        )
    whole = tree(placed(source, option, name), kind)
    if whole.split is not None:
        if splits.test_file or splits.validation_file or splits.folds:
            given = "test" if splits.test_file else "validation_file" if splits.validation_file else "folds"
            raise DataError(f"data.options.{given}: {whole.folder} has its own folders train and test; leave it out")
        return Labelled(whole.paths, whole.labels, Splits(split=SPLIT), whole.split)
    paths, labels, own = list(whole.paths), list(whole.labels), {}
    for part, key, place in (
        ("test", "test", splits.test_file),
        ("validation", "validation_file", splits.validation_file),
    ):
        if place is not None:
            more: Tree = tree(placed(source, key, place), kind)
            if more.split is not None:
                raise DataError(f"data.options.{key}: {more.folder} has folders of splits; name one with classes alone")
            paths, labels, own[part] = paths + more.paths, labels + more.labels, len(more.paths)
    return Labelled(paths, labels, splits, None, own)


def _first_column(splits: Splits) -> str:
    return next(key for key in ("split", "group", "time") if getattr(splits, key) is not None)


def raw_data(
    source: Source,
    found: Labelled,
    read: Callable[[Sequence[Path]], tuple[np.ndarray, dict[str, np.ndarray]]],
    **traits: object,
) -> RawData:
    """`read` gives inputs of all files and extras of them; `traits`: other keywords of `RawData`.

    Raises `DataError` for a class that the training split has no file of.
    """
    names, own = sorted(set(found.labels)), found.own or {}
    y = np.array([names.index(label) for label in found.labels])
    first = len(y) - sum(own.values())

    def where(row: int) -> str:
        return str(found.paths[row])

    if len(names) < 2:
        raise DataError(f"{where(0)}: all files are of one class, {names[0]!r}; there have to be two")
    parts = found.splits.parts(source, first, labels=y[:first], split=found.split, where=where)
    known = set(y[parts.train].tolist())
    lacking = next((row for row in range(len(y)) if y[row] not in known), None)
    if lacking is not None:
        raise DataError(f"{where(lacking)}: is of the class {found.labels[lacking]!r}, which no training file is of")
    x, extras = read(found.paths)
    given = parts.arrays(x[:first], y[:first], {name: values[:first] for name, values in extras.items()})
    for part, count in own.items():
        given |= {f"x_{part}": x[first : first + count], f"y_{part}": y[first : first + count]}
        given[f"extras_{part}"] = {name: values[first : first + count] for name, values in extras.items()}
        first += count
    return RawData(**given, class_names=names, **traits)  # type: ignore[arg-type]


def refuse_too_many(what: str, count: int, each: int) -> None:
    """Raises `DataError` if so many inputs of so many bytes do not fit into the memory that is free."""
    free = psutil.virtual_memory().available
    if count * each > free:
        raise DataError(f"{what} take {count * each / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free")
