"""A data set of pure noise in any shape: for measuring speed, where what is learned does not matter."""

from __future__ import annotations

import numpy as np

from unlocked.data import RawData, Source, register_data


@register_data("bench_noise", family="synthetic")
def bench_noise(source: Source, shape: list[int], rows: int = 4096, classes: int = 10) -> RawData:
    """Standard normal inputs `(rows, *shape)` and uniform labels, the same on every worker."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, *shape), dtype=np.float32)
    y = draw.integers(0, classes, rows)
    return RawData(x, y, x[:classes], np.arange(classes), class_names=[str(c) for c in range(classes)])
