"""What every data set must satisfy before anything is trained on it; each fault is one readable line.

Targets are checked by the set's task: `Targets.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unlocked.data.arrays import as_array, wrong
from unlocked.data.dataset import RawData
from unlocked.data.graphs.arrays import check_edges
from unlocked.data.loading.extras import SPLITS, checked_extras
from unlocked.data.loading.traits import check_traits
from unlocked.data.rows.source import RowSource
from unlocked_models.contract.batch import LENGTHS, Extra

# x (n, *in_shape), an array or rows that are read when asked for; y (n, ...); extras
Arrays = tuple[Any, np.ndarray, dict[str, Extra]]


def checked_splits(name: str, raw: RawData) -> dict[str, Arrays]:
    """The arrays by split (`train`, and `test` and `validation` if the set has its own): inputs sound, examples of one
    shape."""
    check_traits(name, raw)
    given = {part: (getattr(raw, f"x_{part}"), getattr(raw, f"y_{part}")) for part in SPLITS}
    for part, (x, y) in given.items():
        if (x is None) != (y is None):
            there, lacking = ("y", "x") if x is None else ("x", "y")
            raise wrong(name, f"{there}_{part} is given but {lacking}_{part} is not")
    splits: dict[str, tuple[Any, np.ndarray]] = {
        part: (x if isinstance(x, RowSource) else as_array(name, f"x_{part}", x), as_array(name, f"y_{part}", y))
        for part, (x, y) in given.items()
        if x is not None
    }
    refuse_mixed(name, {part: x for part, (x, _) in splits.items()})
    for x, _ in splits.values():
        if raw.stretch and x.ndim and len(x) % raw.stretch:
            raise wrong(name, f"{len(x)} rows are not episodes of {raw.stretch} rows each")
    extras = checked_extras(name, raw, {part: x for part, (x, _) in splits.items()})
    splits = {part: (without_padding(x, lengths_of(extras[part])), y) for part, (x, y) in splits.items()}
    for part, (x, y) in splits.items():
        _check_inputs(name, part, x)
        check_edges(name, part, x, extras[part])
        if raw.symbols is None:
            _check_layout(name, part, x, raw.channels)
        elif not isinstance(x, RowSource):
            check_ids(name, f"x_{part}", x, len(raw.symbols))
        _check_count(name, part, y, len(x))
    for part, pair in splits.items():
        for kind, here, train in zip(("example", "target"), pair, splits["train"], strict=True):
            if here.shape[1:] != train.shape[1:]:
                raise wrong(name, f"a training {kind} has shape {train.shape[1:]} but a {part} {kind} {here.shape[1:]}")
    return {part: (x, y, extras[part]) for part, (x, y) in splits.items()}


def lengths_of(extras: Mapping[str, Extra]) -> np.ndarray | None:
    """The lengths of sequences among the extras."""
    lengths = extras.get(LENGTHS)
    return lengths.numpy() if isinstance(lengths, Tensor) else None


def without_padding(x: Any, lengths: np.ndarray | None) -> Any:
    """Zeros after the end of each sequence; a copy. Without lengths: as it is. Rows to read: when they are."""
    if lengths is None or isinstance(x, RowSource):
        return x
    there = np.arange(x.shape[1]) < lengths[:, None]
    return np.where(there.reshape(there.shape + (1,) * (x.ndim - 2)), x, np.zeros((), x.dtype))


def refuse_mixed(name: str, inputs: Mapping[str, Any]) -> None:
    """Every split's inputs are rows to read, or arrays."""
    are_read = {part: isinstance(x, RowSource) for part, x in inputs.items()}
    if len(set(are_read.values())) > 1:
        read, held = (next(part for part, is_so in are_read.items() if is_so is which) for which in (True, False))
        raise wrong(name, f"x_{read} is rows to read and x_{held} an array; give both alike")


def _check_inputs(name: str, part: str, x: Any) -> None:
    if x.ndim < 2:
        raise wrong(name, f"x_{part} has shape {x.shape}; it needs an axis of examples and one of features")
    if x.dtype.kind not in "biuf":
        raise wrong(name, f"x_{part} holds {x.dtype} values; it needs real numbers")
    if x.size == 0:
        raise wrong(name, f"x_{part} is empty, of shape {x.shape}")
    if isinstance(x, RowSource):  # whether they are finite is seen when all are read
        return
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
            f"{last} channel{'s' * (last > 1)} after the pixels; RawData(..., channels='last') says so, "
            f"channels='first' that they are {rows} channels of {columns} x {last} pixels",
        )


def check_ids(name: str, what: str, ids: np.ndarray, count: int) -> None:
    """Ids `(n, positions)` below `count`, or a `DataError`."""
    if ids.dtype.kind not in "iu" or ids.ndim != 2:
        raise wrong(name, f"{what} is {ids.dtype} of shape {ids.shape}; tokens are integer ids of shape (n, positions)")
    bad = next((int(end) for end in (ids.min(), ids.max()) if not 0 <= end < count), None)
    if bad is not None:
        raise wrong(name, f"{what} holds the token id {bad}; the vocabulary has ids 0 to {count - 1}")


def _check_count(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim and len(y) != n:
        raise wrong(name, f"x_{part} has {n} examples but y_{part} has {len(y)} targets")
