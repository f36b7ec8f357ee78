"""What a data function says of its arrays, by type: each fault is one line that names the argument of `RawData`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData
from unlocked.data.transform import Transform


def check_traits(name: str, raw: RawData) -> None:
    """Raises `DataError` for an argument of another type than `RawData` takes."""
    for what, names in (
        ("symbols", raw.symbols),
        ("class_names", raw.class_names),
        ("features", raw.features),
    ):
        if names is not None and (isinstance(names, str) or not isinstance(names, Sequence | np.ndarray)):
            raise wrong(name, f"{what} is {names!r}; it is a list of names, by id")
    strange = [symbol for symbol in ([] if raw.symbols is None else raw.symbols) if not isinstance(symbol, str)]
    if strange:
        raise wrong(name, f"symbols holds {strange[0]!r}; each is a text")
    x: Any = raw.x_train
    if raw.features is not None and (np.ndim(x) != 2 or np.shape(x)[1] != len(set(raw.features))):
        raise wrong(
            name,
            f"features names {len(set(raw.features))} columns and x_train has shape {np.shape(x)}; each "
            "column of (n, features) has a name of its own",
        )
    if not isinstance(raw.ordered, bool | np.bool_):
        raise wrong(name, f"ordered is {raw.ordered!r}; it is True or False")
    if raw.stretch is not None and (
        isinstance(raw.stretch, bool) or not isinstance(raw.stretch, int | np.integer) or raw.stretch < 1
    ):
        raise wrong(name, f"stretch is {raw.stretch!r}; it is a whole number of rows, at least 1, or None")
    if not isinstance(raw.transforms, Sequence) or isinstance(raw.transforms, str):
        raise wrong(name, f"transforms is {raw.transforms!r}; it is a list of transforms")
    if other := [each for each in raw.transforms if not isinstance(each, Transform)]:
        raise wrong(name, f"transforms holds {other[0]!r}, which is no Transform")
    for what, stored in (("tokenizer", raw.tokenizer), ("target_tokenizer", raw.target_tokenizer)):
        if stored is not None and not _is_json_object(stored):
            raise wrong(name, f"{what} is not the JSON of a tokenizers.Tokenizer, as its to_str() gives it")
    if raw.files is not None and (not isinstance(raw.files, Mapping) or "kind" not in raw.files):
        raise wrong(name, f"files is {raw.files!r}; it is a dictionary that has a kind")
    if raw.plain is not None and tuple(raw.x_train.shape[1:]) != (len(raw.plain),):
        raise wrong(name, f"plain has {len(raw.plain)} entries, one for each feature of x_train {raw.x_train.shape}")
    _check_normalise(name, raw.normalise)


def _is_json_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _check_normalise(name: str, given: object) -> None:
    if given is None or isinstance(given, str):
        return
    try:
        pair = [torch.as_tensor(value, dtype=torch.float64) for value in given]  # type: ignore[attr-defined]
    except (TypeError, ValueError, RuntimeError):
        pair = []
    if len(pair) != 2:
        raise wrong(
            name, f"normalise is {given!r}; it is 'train', a pair (mean, std) of numbers or lists of them, or None"
        )
