"""A picture as a function of its places: what a net that paints has to come to (Stanley 2007)."""

from __future__ import annotations

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.errors import DataError

FEATURES = ["x", "y", "distance"]


def places(side: int) -> np.ndarray:
    """Of the pixels of a square picture, row by row: `(side * side, 3)`."""
    at = np.linspace(-1, 1, side, dtype=np.float32)
    y, x = (each.ravel() for each in np.meshgrid(at, at, indexing="ij"))
    return np.stack([x, y, np.hypot(x, y) / np.sqrt(2)], 1).astype(np.float32)


@register_data("picture", task="regression", family="made")
def picture(source: Source, number: int = 0) -> RawData:
    """One digit of scikit-learn's, 8 x 8: from a pixel's place (x, y and its distance from the middle, within -1 and 1)
    to how dark it is, 0 to 1.

    `number` of the 1,797 says which; every pixel is trained and tested on.
    """
    from sklearn.datasets import load_digits

    images = load_digits().images
    if not 0 <= number < len(images):
        raise DataError(f"data.options.number: must be from 0 to {len(images) - 1}, got {number}")
    x = places(images.shape[1])
    dark = (images[number] / 16).astype(np.float32).ravel()
    return RawData(x, dark, x_test=x, y_test=dark, features=FEATURES, class_names=["dark"])
