"""Captions of drawn digits: one to three of scikit-learn's side by side, and their names in order."""

from __future__ import annotations

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.words.pairs import ended
from unlocked.data.words.text import SPECIAL
from unlocked.errors import DataError

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEST_SHARE = 5  # every so many of the digits are drawn in test pictures alone


@register_data("captions", task="captioning", family="made")
def captions(source: Source, pictures: int = 4000, most: int = 3) -> RawData:
    """Pictures of 1 to `most` digits, columns of 8 pixels from left to right `(8 x most, 8)` in [0, 1], and their
    names: "seven zero two". Test pictures (a quarter as many) are of digits that no training picture has."""
    from sklearn.datasets import load_digits

    for key, value in (("pictures", pictures), ("most", most)):
        if value < 1:
            raise DataError(f"data.options.{key}: must be at least 1, got {value}")
    bunch, rng = load_digits(), np.random.default_rng(0)
    images, digits = bunch.images / 16, bunch.target
    held = np.arange(len(digits)) % TEST_SHARE == 0

    def drawn(count: int, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, said = np.zeros((count, 8 * most, 8), np.float32), []
        for row in x:
            chosen = rng.choice(of, rng.integers(1, most + 1))
            for place, i in enumerate(chosen):
                row[8 * place : 8 * place + 8] = images[i].T
            said.append([len(SPECIAL) + int(digits[i]) for i in chosen])
        return x, ended(said, most + 1)

    train, test = drawn(pictures, np.flatnonzero(~held)), drawn(max(1, pictures // 4), np.flatnonzero(held))
    return RawData(*train, *test, class_names=[*SPECIAL, *NAMES])
