"""What every data set must satisfy before anything is trained on it; each fault is one readable line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from unlocked.data.arrays import as_array, wrong
from unlocked.data.dataset import RawData
from unlocked.data.extras import SPLITS, checked_extras
from unlocked.data.text import EOS, PAD, SPECIAL
from unlocked.data.traits import check_traits
from unlocked_models.contract.batch import LENGTHS, Extra

Arrays = tuple[np.ndarray, np.ndarray, dict[str, Extra]]  # x (n, *in_shape), y (n, ...), extras


def checked_splits(name: str, raw: RawData, task: str) -> dict[str, Arrays]:
    """The arrays by split (`train`, and `test` and `validation` if the set has its own), sound and of one example
    shape."""
    check_traits(name, raw)
    given = {part: (getattr(raw, f"x_{part}"), getattr(raw, f"y_{part}")) for part in SPLITS}
    for part, (x, y) in given.items():
        if (x is None) != (y is None):
            there, lacking = ("y", "x") if x is None else ("x", "y")
            raise wrong(name, f"{there}_{part} is given but {lacking}_{part} is not")
    splits = {
        part: (as_array(name, f"x_{part}", x), as_array(name, f"y_{part}", y))
        for part, (x, y) in given.items()
        if x is not None
    }
    for x, _ in splits.values():
        if raw.stretch and x.ndim and len(x) % raw.stretch:
            raise wrong(name, f"{len(x)} rows are not episodes of {raw.stretch} rows each")
    if task == "translation":
        _check_vocabularies(name, raw)
    extras = checked_extras(name, raw, {part: x for part, (x, _) in splits.items()})
    splits = {part: (without_padding(x, lengths_of(extras[part])), y) for part, (x, y) in splits.items()}
    for part, (x, y) in splits.items():
        _check_inputs(name, part, x)
        if raw.symbols is None:
            _check_layout(name, part, x, raw.channels)
        else:
            _check_ids(name, f"x_{part}", x, len(raw.symbols))
        if task == "translation":
            _check_sources(name, part, x)
        _TARGETS[task](name, part, y, len(x))
    for part, pair in splits.items():
        for kind, here, train in zip(("example", "target"), pair, splits["train"], strict=True):
            if here.shape[1:] != train.shape[1:]:
                raise wrong(name, f"a training {kind} has shape {train.shape[1:]} but a {part} {kind} {here.shape[1:]}")
    return {part: (x, y, extras[part]) for part, (x, y) in splits.items()}


def lengths_of(extras: Mapping[str, Extra]) -> np.ndarray | None:
    """The lengths of sequences among the extras."""
    lengths = extras.get(LENGTHS)
    return lengths.numpy() if isinstance(lengths, Tensor) else None


def without_padding(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Zeros after the end of each sequence; a copy. Without lengths: as it is."""
    if lengths is None:
        return x
    there = np.arange(x.shape[1]) < lengths[:, None]
    return np.where(there.reshape(there.shape + (1,) * (x.ndim - 2)), x, np.zeros((), x.dtype))


def checked_classes(name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
    """Class names by id; checks that every label is one of them."""
    seen = np.unique(splits["train"][1])
    if raw.class_names is not None:
        names = [str(class_name) for class_name in raw.class_names]
    else:
        names = [str(c) for c in range(len(seen))]
        gap = next((c for c in range(len(seen)) if seen[c] != c), None)
        if gap is not None:
            raise wrong(
                name,
                f"y_train goes from {seen[0]} to {seen[-1]} but has no example of class {gap}; "
                "ids count from 0 without gaps, unless class_names says how many there are",
            )
    if len(names) < 2:
        raise wrong(name, f"it has {len(names)} class; classification needs two")
    for part, (_, y, _) in splits.items():
        bad = next((int(end) for end in (y.min(), y.max()) if not 0 <= end < len(names)), None)
        if bad is not None:
            raise wrong(name, f"y_{part} holds label {bad}; classes are 0 to {len(names) - 1}")
    return names


def checked_names(name: str, raw: RawData, splits: dict[str, Arrays], task: str) -> list[str]:
    """What each output stands for: classes, values or tokens."""
    if task == "classification":
        return checked_classes(name, raw, splits)
    y = splits["train"][1]
    if task == "regression":
        count = y.shape[1] if y.ndim == 2 else 1
        names = [str(i) for i in range(count)] if raw.class_names is None else list(raw.class_names)
        if len(names) != count:
            raise wrong(name, f"class_names names {len(names)} values, y_train has {count} for each example")
        return names
    if (raw.masking is not None) != (task == "masked_language_modelling"):
        raise wrong(name, "masking is what masked_language_modelling needs, and no other task")
    tokens = raw.symbols if raw.class_names is None else raw.class_names
    if tokens is None:
        raise wrong(name, "symbols, the vocabulary, is needed where targets are tokens")
    for part, (_, ids, _) in splits.items():
        _check_ids(name, f"y_{part}", ids, len(tokens))
        if not ids.any():
            raise wrong(name, f"y_{part} holds nothing but padding")
    return list(tokens)


def _check_inputs(name: str, part: str, x: np.ndarray) -> None:
    if x.ndim < 2:
        raise wrong(name, f"x_{part} has shape {x.shape}; it needs an axis of examples and one of features")
    if x.dtype.kind not in "biuf":
        raise wrong(name, f"x_{part} holds {x.dtype} values; it needs real numbers")
    if x.size == 0:
        raise wrong(name, f"x_{part} is empty, of shape {x.shape}")
    if x.dtype.kind == "f" and not (finite := np.isfinite(x)).all():
        count, first = int((~finite).sum()), int(np.argwhere(~finite)[0, 0])
        raise wrong(name, f"x_{part} has values that are not finite: {count}, the first in example {first}")


def _check_layout(name: str, part: str, x: np.ndarray, channels: str | None) -> None:
    """Images whose channels stand behind their pixels would be read as many thin ones, and nothing would fail."""
    if channels not in (None, "first", "last"):
        raise wrong(name, f"channels is {channels!r}; it is 'first', 'last' or None")
    if channels == "last" and x.ndim != 4:
        raise wrong(name, f"x_{part} has shape {x.shape}; channels='last' is for images (n, height, width, channels)")
    if channels is not None or x.ndim != 4:
        return
    _, rows, columns, last = x.shape
    if min(rows, columns) > 4 and (last in (3, 4) or (last == 1 and rows == columns)):
        raise wrong(
            name,
            f"x_{part} has shape {x.shape}, which looks like {rows} x {columns} images with their "
            f"{last} channel{'s' * (last > 1)} behind the pixels; RawData(..., channels='last') says so, "
            f"channels='first' that they are {rows} channels of {columns} x {last} pixels",
        )


def _check_class_ids(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim != 1 or y.dtype.kind not in "biu":
        raise wrong(
            name,
            f"y_{part} is {y.dtype} of shape {y.shape}; it needs integer class ids of shape "
            f"({n},), such as np.unique(y, return_inverse=True)[1]",
        )
    if len(y) != n:
        raise wrong(name, f"x_{part} has {n} examples but y_{part} has {len(y)} labels")


def _check_values(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim not in (1, 2) or y.dtype.kind not in "biuf" or y.size == 0:
        raise wrong(
            name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs real values of shape ({n},) or ({n}, values)"
        )
    if not np.isfinite(y).all():
        raise wrong(
            name,
            f"y_{part} has values that are not finite, the first in example {int(np.argwhere(~np.isfinite(y))[0, 0])}",
        )
    if np.abs(y.astype(np.float64)).max() > np.finfo(np.float32).max:
        raise wrong(name, f"y_{part} has values that do not fit float32")
    _check_count(name, part, y, n)


def _check_tokens(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim != 2 or y.dtype.kind not in "iu" or y.size == 0:
        raise wrong(name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs token ids of shape ({n}, positions)")
    _check_count(name, part, y, n)


def _check_ids(name: str, what: str, ids: np.ndarray, count: int) -> None:
    if ids.dtype.kind not in "iu" or ids.ndim != 2:
        raise wrong(name, f"{what} is {ids.dtype} of shape {ids.shape}; tokens are integer ids of shape (n, positions)")
    bad = next((int(end) for end in (ids.min(), ids.max()) if not 0 <= end < count), None)
    if bad is not None:
        raise wrong(name, f"{what} holds the token id {bad}; the vocabulary has ids 0 to {count - 1}")


def _check_count(name: str, part: str, y: np.ndarray, n: int) -> None:
    if len(y) != n:
        raise wrong(name, f"x_{part} has {n} examples but y_{part} has {len(y)} targets")


def _check_ended(name: str, part: str, y: np.ndarray, n: int) -> None:
    """Targets that a decoder can learn to end: </s> at the end of each, and padding behind it."""
    _check_tokens(name, part, y, n)
    ended = (y == EOS).sum(1) == 1
    ended &= (np.cumsum(y == EOS, 1) - (y == EOS) == (y == PAD)).all(1)  # what is behind the end, and that alone
    if not ended.all():
        raise wrong(
            name,
            f"y_{part} has sequences that are not tokens, the id {EOS} of {SPECIAL[EOS]} and then "
            f"padding ({PAD}), the first in example {int(np.argmin(ended))}",
        )


def _check_vocabularies(name: str, raw: RawData) -> None:
    """Of a translation: sources are ids, and both vocabularies begin with the special tokens and go on."""
    targets = raw.symbols if raw.class_names is None else raw.class_names
    for what, tokens in (("symbols", raw.symbols), ("class_names", targets)):
        if tokens is None or tuple(tokens[: len(SPECIAL)]) != SPECIAL:
            raise wrong(
                name,
                f"{what}, the vocabulary of the {'sources' if what == 'symbols' else 'targets'}, has to "
                f"begin with {', '.join(SPECIAL)}",
            )
        if len(tokens) == len(SPECIAL):
            raise wrong(name, f"{what} holds the special tokens alone: there is nothing to read or to write")


def _check_sources(name: str, part: str, x: np.ndarray) -> None:
    """Of a translation: none is empty."""
    empty = (x == PAD).all(1)
    if empty.any():
        raise wrong(name, f"x_{part} has sequences without a token, the first in example {int(np.argmax(empty))}")


_TARGETS = {
    "classification": _check_class_ids,
    "regression": _check_values,
    "language_modelling": _check_tokens,
    "masked_language_modelling": _check_tokens,
    "translation": _check_ended,
}
