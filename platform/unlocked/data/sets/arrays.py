"""Arrays of one's own, from NPZ, NPY and safetensors files: classes or values of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unlocked.data.class_labels import labels_of, text_of
from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.arrays import NPY, ArrayFile, open_arrays
from unlocked.data.files.source import Source
from unlocked.data.media.file_trees import placed
from unlocked.data.rows.files import open_rows
from unlocked.data.rows.source import HeldArray, RowSource, WithAxis
from unlocked.data.splits import Splits, with_splits
from unlocked.data.transforms.disturbed import Standardise
from unlocked.errors import DataError
from unlocked_models.contract.batch import LENGTHS

X, Y = ("x", "X", "x_train", "X_train"), ("y", "Y", "y_train", "Y_train", "labels", "target")
PARTS = {"test": ("test",), "validation": ("validation", "val", "valid")}
NAMES = ("class_names", "target_names", "label_names")
COPIES = 4  # as they are, by split, normalised


@register_data("arrays", task="classification", family="files")
@with_splits()
def arrays(
    source: Source,
    splits: Splits,
    file: str,
    x: str | None = None,
    y: str | None = None,
    names: str | None = None,
    lengths: str | None = None,
    task: Literal["classification", "regression"] = "classification",
    channels: Literal["first", "last", "none"] | None = None,
    normalise: bool = True,
    memory: Literal["loaded", "mapped"] = "loaded",
) -> RawData:
    """Arrays of your own, of one .npz or .safetensors file, .npy files, a folder of those, or the columns of a
    .parquet file: inputs `x (n, ...)`, targets `y (n, ...)`. `x`, `y`: names of the arrays, or a .npy file beside
    `file`; null: x, x_train, y, y_train, labels or target. Arrays `x_test` and `y_test` of the same file are the test
    split, `x_validation` and `y_validation` the validation split. `split`, `group` and `time` name arrays too. Classes
    are whole numbers or texts, or ids of which an array `names` has the names; `task=regression`: numbers, which are
    standardised for the loss. `lengths`: an array that says how long each sequence is. Images are `(n, channels,
    height, width)`; `channels=last` is the other order, `none` grey ones without that axis. `normalise`: mean 0 and
    deviation 1 by the training split. `memory=mapped`: inputs stay in their file, of which a minibatch reads its rows,
    to the same numbers; for sets larger than memory. In a folder the rows of x may be in several files: x-000.npy,
    x-001.npy, ...
    """
    opened = open_arrays(placed(source, "file", file))
    found = Found(source, opened, x, y, lengths, memory == "mapped")
    columns = {key: getattr(splits, key) for key in ("split", "group", "time") if getattr(splits, key) is not None}
    main = found.part("train", columns)
    others = found.others(splits)
    if "test" in others and splits.test_file is None:
        _refuse_others(opened, splits)
        splits = replace(splits, test="own")
    listed = names or next((each for each in NAMES if each in opened.told), None)
    held = {"train": main, **others}
    targets, called = _values(held), None
    if task == "classification":
        targets, called = _classes(held, None if listed is None else found.one(listed))
    parts = splits.parts(
        source,
        len(main["x"]),
        labels=targets["train"] if task == "classification" else None,
        **{key: main[key] for key in columns},
        where=lambda row: f"{opened.path}, row {row + 1}",
    )
    extras = {part: {LENGTHS: each["lengths"]} if "lengths" in each else {} for part, each in held.items()}
    inputs = {part: _with_channels(opened.path, each["x"], channels) for part, each in held.items()}
    given: dict[str, Any] = parts.arrays(inputs["train"], targets["train"], extras["train"])
    for part in others:
        given |= {f"x_{part}": inputs[part], f"y_{part}": targets[part], f"extras_{part}": extras[part]}
    if called is not None:
        _refuse_unseen(opened.path, given, called)
    return RawData(
        **given,
        class_names=called,
        normalise="train" if normalise else None,
        channels="last" if channels == "last" else "first" if channels is not None else None,
        files={"kind": "arrays", "x": found.x, "y": found.y, "named": listed is not None, "channels": channels},
        transforms=[Standardise()] if task == "regression" else [],
    )


class Found:
    """Arrays by what they are, of `opened` and of files beside it. Raises `DataError`, one line."""

    def __init__(
        self, source: Source, opened: ArrayFile, x: str | None, y: str | None, lengths: str | None, mapped: bool
    ):
        self.source, self.opened, self.mapped = source, opened, mapped
        self.x = x or self._first("x", X)
        self.y = y or self._first("y", Y)
        self.lengths = lengths or (LENGTHS if LENGTHS in opened.told else None)

    def _first(self, option: str, names: tuple[str, ...]) -> str:
        found = next((name for name in names if name in self.opened.told), None)
        if found is None:
            beside = ", or a .npy file beside it" if option == "y" else ""
            raise DataError(
                f"data.options.{option}: name an array of {self.opened.path}{beside} (it has {self.opened.listed()})"
            )
        return found

    def part(self, part: str, columns: Mapping[str, str], opened: ArrayFile | None = None) -> dict[str, Any]:
        """`x`, `y`, lengths and columns of a split, all of as many rows."""
        wanted = {"x": self.x, "y": self.y, **columns} | ({"lengths": self.lengths} if self.lengths else {})
        if part != "train" and opened is None:  # in the same file
            wanted = {what: self._of_part(name, part) or f"{name}_{part}" for what, name in wanted.items()}
        held = self._loaded(wanted, opened or self.opened)
        path = (opened or self.opened).path
        for what, array in held.items():
            if not array.ndim:
                raise DataError(f"{path}: {wanted[what]} is one number; it needs a row for each")
            if len(array) != len(held["x"]):
                raise DataError(f"{path}: {wanted['x']} has {len(held['x'])} rows, {wanted[what]} {len(array)}")
        return held

    def others(self, splits: Splits) -> dict[str, dict[str, Any]]:
        """Splits of their own: files that the options name, or arrays such as `x_test`."""
        found = {}
        for part, key, file in (
            ("test", "test", splits.test_file),
            ("validation", "validation_file", splits.validation_file),
        ):
            if file is not None:
                found[part] = self.part(part, {}, open_arrays(placed(self.source, key, file)))
            elif self._of_part(self.x, part) is not None:
                found[part] = self.part(part, {})
        return found

    def one(self, name: str) -> np.ndarray:
        found: np.ndarray = self._loaded({"names": name}, self.opened)["names"]
        return found

    def _of_part(self, name: str, part: str) -> str | None:
        """`x_test` of `x` or of `x_train`."""
        stem = name.removesuffix("_train")
        return next((f"{stem}_{each}" for each in PARTS[part] if f"{stem}_{each}" in self.opened.told), None)

    def _loaded(self, wanted: Mapping[str, str], opened: ArrayFile) -> dict[str, Any]:
        """Arrays; of inputs rows, which are read as they are needed, or held."""
        inner: dict[str, str] = {}
        found: dict[str, Any] = {}
        for what, name in wanted.items():
            if name in opened.told and what == "x" and self.mapped:
                found[what] = open_rows(opened.path, name, self.source.cache_folders())
                continue
            if name in opened.told:
                inner[what] = name
                continue
            beside = [opened.path.parent / name, self.source.root / name]
            path = next((each for each in beside if name.endswith(NPY) and each.is_file()), None)
            if path is None:
                raise DataError(f"data.options.{what}: {opened.path} has no array {name!r} (it has {opened.listed()})")
            if what == "x" and self.mapped:
                found[what] = open_rows(path, None, self.source.cache_folders())
            else:
                found[what] = open_arrays(path).load(["x"], COPIES)["x"]
        loaded = opened.load(inner.values(), COPIES)
        found |= {what: loaded[name] for what, name in inner.items()}
        return found | ({"x": HeldArray(found["x"])} if "x" in found and not self.mapped else {})


def _refuse_others(opened: ArrayFile, splits: Splits) -> None:
    for key in ("split", "folds", "group", "time"):
        if getattr(splits, key) is not None:
            raise DataError(f"data.options.{key}: {opened.path} has a test split of its own; leave it out")


def _with_channels(path: Path, x: RowSource, channels: str | None) -> RowSource:
    if channels == "none":
        if x.ndim != 3:
            raise DataError(
                f"data.options.channels: {path} has inputs of shape {x.shape}; none is of (n, height, width)"
            )
        return WithAxis(x)
    return WithAxis(x) if x.ndim == 1 else x


def _values(held: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {part: each["y"] for part, each in held.items()}


def _classes(
    held: Mapping[str, Mapping[str, np.ndarray]], names: np.ndarray | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Ids by split, and the names of the classes."""
    labels = {part: labels_of(f"data.options.y: targets of {part}", each["y"]) for part, each in held.items()}
    if names is not None:
        known = [str(name) for name in names.flatten()]
        for part, each in labels.items():
            if each.dtype.kind not in "iu" or each.min() < 0 or each.max() >= len(known):
                raise DataError(
                    f"data.options.names: names {len(known)} classes; targets of {part} are no ids of those"
                )
        return labels, known
    kinds = {each.dtype.kind in "US" for each in labels.values()}
    if len(kinds) > 1:
        raise DataError("data.options.y: targets of one split are texts and of another numbers; give both alike")
    every = np.unique(np.concatenate([np.unique(each) for each in labels.values()]))
    return {part: np.searchsorted(every, each) for part, each in labels.items()}, [text_of(each) for each in every]


def _refuse_unseen(path: Path, given: Mapping[str, Any], names: list[str]) -> None:
    if len(names) < 2:
        raise DataError(f"{path}: all rows are of one class, {''.join(names)!r}; there have to be two")
    known = set(given["y_train"].tolist())
    for part in ("validation", "test"):
        lacking = sorted(set(given[f"y_{part}"].tolist()) - known) if f"y_{part}" in given else []
        if lacking:
            raise DataError(f"{path}: the class {names[lacking[0]]!r} is in the {part} split, and in no training row")
