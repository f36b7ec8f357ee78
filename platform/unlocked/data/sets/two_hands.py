"""Two real sets of handwritten digits as two domains: scikit-learn's, and MNIST's at the same size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.sets.digits import digits
from unlocked.data.sets.mnist_5k import mnist_5k
from unlocked.data.sets.sides import shrunk

SIDE = 8
PARTS = (0.7, 0.1, 0.2)  # of each domain: train, validation, test


@register_data("two_hands", task="classification", family="images")
def two_hands(source: Source) -> RawData:
    """Images `(1, 8, 8)` of `digits`, and in `other` those of `mnist_5k`, of other people (`other_y`: their classes).

    Which two stand in one row says nothing: the classes differ. Scikit-learn's digits fill the image in bold strokes,
    MNIST's are smaller and thinner. Reads what `mnist_5k` reads, and shrinks it to 8 x 8.
    """
    one, other = digits(source), mnist_5k(replace(source, name="mnist_5k"))
    images = shrunk(np.asarray(other.x_train, dtype=np.float64) / 255, SIDE, source.name)
    a, b = _parts(one.x_train, one.y_train), _parts(images, other.y_train)
    rows = [max(len(a[0][0]), len(b[0][0])), *(min(len(a[k][0]), len(b[k][0])) for k in (1, 2))]
    x, y, other_x, other_y = (
        [np.resize(its[k][i], (n, *its[k][i].shape[1:])) for k, n in enumerate(rows)]
        for its, i in ((a, 0), (a, 1), (b, 0), (b, 1))
    )
    extras = [{"other": each, "other_y": of} for each, of in zip(other_x, other_y, strict=True)]
    return RawData(
        x[0],
        y[0],
        x_validation=x[1],
        y_validation=y[1],
        x_test=x[2],
        y_test=y[2],
        extras_train=extras[0],
        extras_validation=extras[1],
        extras_test=extras[2],
        class_names=list("0123456789"),
    )


def _parts(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train, validation and test, always the same ones."""
    order = np.random.default_rng(0).permutation(len(x))
    ends = np.cumsum([round(share * len(x)) for share in PARTS[:-1]])
    return [(x[rows], y[rows]) for rows in np.split(order, ends)]
