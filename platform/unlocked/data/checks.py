"""What every data set must satisfy before anything is trained on it; each fault is one readable line."""

from __future__ import annotations

import numpy as np

from unlocked.data.dataset import RawData
from unlocked.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray]      # x (n, *in_shape), y (n,)


def wrong(name: str, what: str) -> DataError:
    return DataError(f"data {name!r}: {what}")


def checked_splits(name: str, raw: RawData) -> dict[str, Arrays]:
    """The arrays by split (`train`, and `test` where the set has one), sound and of one example shape."""
    if (raw.x_test is None) != (raw.y_test is None):
        given, lacking = ("y_test", "x_test") if raw.x_test is None else ("x_test", "y_test")
        raise wrong(name, f"{given} is given but {lacking} is not")
    splits = {"train": (np.asarray(raw.x_train), np.asarray(raw.y_train))}
    if raw.x_test is not None:
        splits["test"] = (np.asarray(raw.x_test), np.asarray(raw.y_test))
    for part, (x, y) in splits.items():
        _check_inputs(name, part, x)
        _check_targets(name, part, y, len(x))
    shapes = [x.shape[1:] for x, _ in splits.values()]
    if shapes[0] != shapes[-1]:
        raise wrong(name, f"a training example has shape {shapes[0]} but a test example {shapes[-1]}")
    return splits


def checked_classes(name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
    """Class names by id; checks that every label is one of them."""
    seen = np.unique(splits["train"][1])
    if raw.class_names is not None:
        names = [str(class_name) for class_name in raw.class_names]
    else:
        names = [str(c) for c in range(len(seen))]
        gap = next((c for c in range(len(seen)) if seen[c] != c), None)
        if gap is not None:
            raise wrong(name, f"y_train goes from {seen[0]} to {seen[-1]} but has no example of class {gap}; "
                              "ids count from 0 without gaps, unless class_names says how many there are")
    if len(names) < 2:
        raise wrong(name, f"it has {len(names)} class; classification needs two")
    for part, (_, y) in splits.items():
        bad = next((int(end) for end in (y.min(), y.max()) if not 0 <= end < len(names)), None)
        if bad is not None:
            raise wrong(name, f"y_{part} holds label {bad}; classes are 0 to {len(names) - 1}")
    return names


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


def _check_targets(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim != 1 or y.dtype.kind not in "biu":
        raise wrong(name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs integer class ids of shape "
                          f"({n},), such as np.unique(y, return_inverse=True)[1]")
    if len(y) != n:
        raise wrong(name, f"x_{part} has {n} examples but y_{part} has {len(y)} labels")
