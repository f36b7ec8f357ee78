"""Classes out of arrays of targets: whole numbers, texts, or one of each row that is 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlocked.errors import DataError


def text_of(label: Any) -> str:
    """The name of a class."""
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def labels_of(what: str, y: np.ndarray) -> np.ndarray:
    """`(n,)` whole numbers or texts, of `(n,)`, `(n, 1)` or the one of each row `(n, classes)` that is 1.

    `what` begins the `DataError` for anything else.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "biuf" and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all():
        return np.asarray(y.argmax(1))
    if y.ndim != 1 or y.dtype.kind not in "biufUS":
        raise DataError(f"{what} are {y.dtype} of shape {y.shape}; classes are (n,)")
    if y.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(y) | (y != np.round(y)))
        if len(bad):
            raise DataError(
                f"{what}: row {bad[0] + 1} is {y[bad[0]]:g}, which is no class; of numbers to be told, "
                "data.options.task=regression"
            )
    return y.astype(np.int64) if y.dtype.kind in "bf" else y
