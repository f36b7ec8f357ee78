"""From a name to a `DataSet`: read, check, split, normalise, in that order and for every set alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlocked.blame import knowing_of_ctrl_c, named, place, said
from unlocked.data.arrays import wrong
from unlocked.data.dataset import DATA, RESERVED, TEST_FRACTION, DataSet, Loaded, RawData, Split, task_of_data
from unlocked.data.files.source import Source
from unlocked.data.loading.checks import Arrays, checked_splits, lengths_of
from unlocked.data.loading.normalising import Statistics, as_float32, statistics_of
from unlocked.data.loading.rows import Seen, seen
from unlocked.data.loading.targets import Targets
from unlocked.data.rows.source import RowSource, channels_first
from unlocked.data.splits import set_aside
from unlocked.data.transform import build_transforms
from unlocked.errors import DataError, UnlockedError
from unlocked.options import check_options
from unlocked_models.contract.batch import Batch, rows_of
from unlocked_models.contract.registry import UnknownName

Held = tuple[np.ndarray | None, np.ndarray | None]  # groups and times of the training rows
SHOWN = 2  # raw inputs that a loaded set keeps, to show what one is


def load_as(
    name: str,
    task_of: Callable[[str], Targets],
    *,
    root: str | Path | None = None,
    validation: float = 0.0,
    examples: int | None = None,
    seed: int = 0,
    download: bool = False,
    transforms: Sequence[Any] = (),
    **options: Any,
) -> DataSet:
    """The registered data set `name`, split and normalised; the same for the same arguments.

    `task_of` gives its task by name: `unlocked.tasks.load` knows them.

    Splits are stratified by class if there are classes, and the end of an ordered set, such as a text. A set
    without a test split of its own gives up 20 % for it, where drawn exactly the rows that sklearn's
    `train_test_split(rows, test_size=0.2, stratify=y, random_state=seed)` takes.

    Args:
        root: folder searched for files; `$UNLOCKED_DATA`, else `./data`, by default.
        validation: fraction of the training split set aside, in [0, 1); 0 gives `DataSet.validation = None`.
        examples: how many of the training split are kept, drawn as what is set aside is; None: all.
        seed: of the splits, and of what transforms draw for evaluation.
        download: fetch missing files from the set's mirror into `root/name`.
        transforms: what minibatches go through after those that the set brings: names, or names and options.
        options: those of the set itself, e.g. `mirror` of `mnist`.

    Raises `DataError`, one line, for everything that can be wrong: names, files, values, shapes, labels.
    """
    read, chosen = _reader(name, options), build_transforms(transforms)
    if not 0 <= validation < 1:
        raise DataError(f"data.validation: must be at least 0 and less than 1, got {validation}")
    source = Source(name, _root(root), download, seed, validation)
    raw = _called(name, read, source, options)
    task = task_of_data(name, options)
    targets = task_of(task)
    splits = checked_splits(name, raw)
    names = targets.check(name, raw, splits)
    if not isinstance(names, list | tuple):
        kind, task_class = type(names).__name__, type(targets).__name__
        raise DataError(f"{name}: check of its task, {task_class}, gives a {kind}, not a list of the outputs' names")
    if raw.channels == "last":
        splits = {part: (channels_first(x), y, extras) for part, (x, y, extras) in splits.items()}
    order = "kept" if raw.ordered else "by class" if targets.by_class else "drawn"

    held = _held(name, raw, len(splits["train"][1]))
    if "test" not in splits:
        splits["train"], splits["test"], held = _halved(name, splits["train"], TEST_FRACTION, seed, order, raw, held)
    if validation == 0:
        splits.pop("validation", None)
    elif "validation" not in splits:
        splits["train"], splits["validation"], _ = _halved(name, splits["train"], validation, seed, order, raw, held)
    if examples is not None:
        splits["train"] = _kept(name, splits["train"], examples, seed, order)

    statistics, rows = None, None
    inputs: dict[str, torch.Tensor]
    if isinstance(splits["train"][0], RowSource):
        rows = seen(name, raw, splits, source.cache_folders())
        inputs, statistics = rows.inputs, rows.statistics
    elif raw.symbols is not None:
        inputs = {part: torch.from_numpy(x.astype(np.int64)) for part, (x, _, _) in splits.items()}
    else:
        lengths = {part: lengths_of(extras) for part, (_, _, extras) in splits.items()}
        statistics = statistics_of(name, raw, splits["train"][0], lengths["train"])
        inputs = {part: as_float32(name, part, x, statistics, lengths[part]) for part, (x, _, _) in splits.items()}
    ready = {part: Split(inputs[part], targets.targets(y), extras) for part, (_, y, extras) in splits.items()}
    traits = raw.traits() | {
        "symbols": None if raw.symbols is None else list(raw.symbols),
        "features": None if raw.features is None else [str(each) for each in raw.features],
        "transforms": [*raw.transforms, *chosen],
    }
    data = DataSet(
        name=name,
        task=task,
        in_shape=tuple(ready["train"].x.shape[1:]),
        seed=seed,
        n_outputs=len(names),
        class_names=names,
        train=ready["train"],
        validation=ready.get("validation"),
        test=ready["test"],
        loaded=_loaded(splits["train"][0], splits["test"][0], statistics, rows),
        **traits,
    )
    return _transformed(data) if data.transforms else data


def _loaded(train: Any, test: Any, statistics: Statistics, rows: Seen | None) -> Loaded:
    if rows is not None:
        return Loaded(
            str(train.dtype), rows.lowest, rows.highest, statistics, test.read(np.arange(min(SHOWN, len(test))))
        )
    low, high = (float(train.min()), float(train.max())) if train.dtype.kind != "b" else (0.0, 1.0)
    return Loaded(str(train.dtype), low, high, statistics, test[:SHOWN].copy())


def _transformed(data: DataSet) -> DataSet:
    """With evaluation splits that went through the transforms. Raises `DataError` if examples would then differ."""
    example = data.with_transforms(Batch(data.train.x, data.train.y, extras=data.train.extras))
    validation = None if data.validation is None else data.drawn("validation", data.validation)
    test = data.drawn("test", data.test)
    for part, split in (("validation", validation), ("test", test)):
        if split is not None and split.x.shape[1:] != example.in_shape:
            raise DataError(
                f"data.transforms: an input of a minibatch has shape {example.in_shape}, one of the {part} split "
                f"{tuple(split.x.shape[1:])}; a transform that changes it has to go for evaluation too: "
                "evaluates = True in its class"
            )
    given = {"test": data.test} | ({} if data.validation is None else {"validation": data.validation})
    return replace(data, in_shape=example.in_shape, validation=validation, test=test, given=given)


def _root(root: str | Path | None) -> Path:
    folder = Path(root or os.environ.get("UNLOCKED_DATA") or "data").expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        key = "data.root" if root else "UNLOCKED_DATA" if os.environ.get("UNLOCKED_DATA") else "data"
        raise DataError(f"{key}: {folder} is no folder; name the folder of data files")
    return folder


def check_data_options(name: str, options: Mapping[str, Any], error: type[UnlockedError] = DataError) -> None:
    """Raises `error`, one line, for an option that a registered set does not have, needs, or wants of another type."""
    for option in options:
        if option in RESERVED:
            raise error(f"data.options.{option}: {name} has no such option; data.{option} is one of every set")
    check_options("data.options", name, DATA.get(name), options, skip=1, error=error)


def _reader(name: str, options: dict[str, Any]) -> Callable[..., RawData]:
    try:
        read = DATA.get(name)
    except UnknownName as error:
        raise DataError(f"data.name: {error}") from None
    check_data_options(name, options)
    return read


def _called(name: str, read: Callable[..., RawData], source: Source, options: dict[str, Any]) -> RawData:
    """What a data function returns; whatever it raises is told with the line that raised it."""
    try:
        with knowing_of_ctrl_c() as is_ctrl_c:
            raw = read(source, **options)
    except UnlockedError:
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        at = place(error, read)
        raise wrong(name, f"its function {named(read)} failed{f' at {at}' if at else ''}: {said(error)}") from error
    if not isinstance(raw, RawData):
        raise wrong(
            name, f"its function {named(read)} returned {type(raw).__name__}, not RawData(x_train, y_train, ...)"
        )
    return raw


def _held(name: str, raw: RawData, n: int) -> Held:
    for what, values in (("groups_train", raw.groups_train), ("times_train", raw.times_train)):
        if values is not None and np.shape(values) != (n,):
            raise wrong(name, f"{what} has shape {np.shape(values)}; it needs one value for each of {n} examples")
    return raw.groups_train, raw.times_train


def _halved(
    name: str, whole: Arrays, fraction: float, seed: int, order: str, raw: RawData, held: Held
) -> tuple[Arrays, Arrays, Held]:
    """`(kept, aside)` by `splits.set_aside`, and the groups and times of what is kept."""
    kept, aside = set_aside(name, whole[1], fraction, seed, order, raw.stretch, *held)
    groups, times = (None if each is None else each[kept] for each in held)
    return _of(whole, kept), _of(whole, aside), (groups, times)


def _kept(name: str, whole: Arrays, examples: int, seed: int, order: str) -> Arrays:
    """So many of the training examples, in their order: drawn, class by class or from all, or the first ones."""
    from sklearn.model_selection import train_test_split

    y, n = whole[1], len(whole[1])
    if examples > n:
        raise DataError(f"data.examples: {examples} is more than the {n} training examples of {name}")
    if examples == n:
        return whole
    if order == "kept":
        return _of(whole, np.arange(examples))
    try:
        by_class = y if order == "by class" else None
        rows, _ = train_test_split(np.arange(n), train_size=examples, stratify=by_class, random_state=seed % 2**32)
    except ValueError:
        raise DataError(
            f"data.examples: {examples} of {n} cannot be drawn class by class: {name} has {len(np.unique(y))} classes, "
            "and each needs one"
        ) from None
    return _of(whole, np.sort(rows))


def _of(whole: Arrays, rows: np.ndarray) -> Arrays:
    x, y, extras = whole
    return x[rows], y[rows], rows_of(extras, torch.from_numpy(rows))
