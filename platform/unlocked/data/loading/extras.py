"""What a data set gives beside inputs and targets: checked as every array is, and made tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.data.arrays import as_array, wrong
from unlocked.data.dataset import RawData
from unlocked_models.contract.batch import LENGTHS, Extra, ExtraShape, Ragged

SPLITS = ("train", "test", "validation")
TAKEN = ("x", "y")  # of every minibatch


def checked_extras(name: str, raw: RawData, inputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, Extra]]:
    """By split, the extras of the examples; `inputs` are the arrays `x_train`, ... of the splits that there are.

    Raises `DataError`, one line, that names the argument of `RawData`.
    """
    found: dict[str, dict[str, Extra]] = {}
    for part in SPLITS:
        given = getattr(raw, f"extras_{part}")
        if not isinstance(given, Mapping):
            raise wrong(name, f"extras_{part} is a {type(given).__name__}; it is a dictionary of arrays, by name")
        lengths = getattr(raw, f"lengths_{part}")
        if part not in inputs:
            if given or lengths is not None:
                argument = f"extras_{part}" if given else f"lengths_{part}"
                raise wrong(name, f"{argument} is given but x_{part} is not")
            continue
        if lengths is not None and LENGTHS in given:
            raise wrong(name, f"extras_{part} holds 'lengths', which lengths_{part} gives too; give one of them")
        extras = {str(key): _checked(name, part, key, value, len(inputs[part])) for key, value in given.items()}
        if lengths is not None:
            extras[LENGTHS] = _tensor(name, f"lengths_{part}", lengths)
        if LENGTHS in extras:
            argument = f"lengths_{part}" if lengths is not None else f"extras_{part}['lengths']"
            _check_lengths(name, argument, f"x_{part}", inputs[part], extras[LENGTHS])
        found[part] = extras
    _check_alike(name, found)
    return found


def _checked(name: str, part: str, key: object, value: Any, n: int) -> Extra:
    what = f"extras_{part}[{key!r}]"
    if not isinstance(key, str) or not key.isidentifier() or key in TAKEN:
        raise wrong(name, f"{what}: the name of an extra is a word such as edge_index, and neither x nor y")
    if isinstance(value, Ragged):
        extra: Extra = _ragged(name, what, value)
    else:
        extra = _tensor(name, what, value)
        if not extra.ndim:
            raise wrong(name, f"{what} is one number; its first axis has to be that of the examples")
    if len(extra) != n:
        raise wrong(name, f"{what} has {len(extra)} rows, x_{part} has {n} examples")
    return extra


def _tensor(name: str, what: str, value: Any) -> Tensor:
    """Integers as int64, real numbers as float32, booleans as they are."""
    array = as_array(name, what, value)
    if array.dtype.kind not in "biuf":
        raise wrong(name, f"{what} holds {array.dtype} values; it needs numbers")
    if array.dtype.kind == "b":
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype.kind in "iu":
        return torch.from_numpy(array.astype(np.int64))
    with np.errstate(over="ignore"):
        small = array.astype(np.float32)
    if not np.isfinite(small).all():
        first = int(np.argwhere(~np.isfinite(small))[0, 0]) if small.ndim else 0
        raise wrong(name, f"{what} has values that are not finite, or do not fit float32, the first in row {first}")
    return torch.from_numpy(small)


def _ragged(name: str, what: str, given: Ragged) -> Ragged:
    values, offsets = _tensor(name, f"{what}.values", given.values), _tensor(name, f"{what}.offsets", given.offsets)
    sound = offsets.ndim == 1 and offsets.dtype == torch.int64 and len(offsets) > 0 and values.ndim > 0
    if not sound or offsets[0] != 0 or offsets[-1] != len(values) or bool((offsets.diff() < 0).any()):
        raise wrong(name, f"{what}: offsets are integers that rise from 0 to the number of values, one more than rows")
    return Ragged(values, offsets)


def _check_lengths(name: str, what: str, inputs: str, x: np.ndarray, given: Extra) -> None:
    if x.ndim not in (2, 3):
        raise wrong(
            name,
            f"{what} is given, but {inputs} has shape {x.shape}; sequences have shape "
            "(n, positions, features) or (n, positions)",
        )
    if isinstance(given, Ragged):
        raise wrong(name, f"{what} is ragged; it needs integers of shape ({len(x)},)")
    if given.shape != (len(x),) or given.dtype != torch.int64:
        raise wrong(
            name,
            f"{what} holds {_KINDS[given.dtype]} of shape {tuple(given.shape)}; it needs integers of shape ({len(x)},)",
        )
    bad = ((given < 1) | (given > x.shape[1])).nonzero().flatten()
    if len(bad):
        raise wrong(
            name,
            f"{what} holds {int(given[bad[0]])} in example {int(bad[0])}; sequences have 1 to {x.shape[1]} positions",
        )


_KINDS = {torch.float32: "real numbers", torch.int64: "integers", torch.bool: "booleans"}


def _check_alike(name: str, found: Mapping[str, Mapping[str, Extra]]) -> None:
    """Every split has the same extras, of the same shapes."""
    train = found["train"]
    for part, extras in found.items():
        if train.keys() != extras.keys():
            key = sorted(train.keys() ^ extras.keys())[0]
            has, lacks = ("train", part) if key in train else (part, "train")
            wanted = f"extras_{lacks}[{key!r}]" if key != LENGTHS else f"lengths_{lacks}"
            raise wrong(name, f"{wanted} is missing, {wanted.replace(lacks, has)} is given; every split has the same")
        for key, extra in extras.items():
            here, there = ExtraShape.of(key, extra), ExtraShape.of(key, train[key])
            if here != there:
                raise wrong(name, f"extras_{part}[{key!r}] is {_said(here)}, extras_train[{key!r}] {_said(there)}")


def _said(extra: ExtraShape) -> str:
    each = "ragged, each value" if extra.ragged else "for each example"
    return f"{each} of shape {extra.shape}, {_KINDS[extra.dtype]}"
