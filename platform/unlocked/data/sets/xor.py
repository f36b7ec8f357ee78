"""Exclusive or: the smallest problem that no single layer solves (Minsky & Papert 1969; Rumelhart et al. 1986)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source


@register_data("xor", task="regression", family="made")
def xor(source: Source) -> RawData:
    """Two inputs of -1 or 1, and one target: 1 if they differ, else 0; the four rows are the test split too.

    A net of one layer does no better than 0.5 for each, an RMSE of 0.5.
    """
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.float32)
    y = np.array([0, 1, 1, 0])
    return RawData(x, y, x_test=x, y_test=y)


@register_data("xor_classes", task="classification", family="made")
def xor_classes(source: Source) -> RawData:
    """The same two inputs, with two classes: `equal` and `different`."""
    made: RawData = xor(source)
    return replace(made, class_names=["equal", "different"])
