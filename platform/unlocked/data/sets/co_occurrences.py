"""How often words of a text stand near each other, for GloVe: every pair of words that ever do is an example.

Pennington et al. 2014, "GloVe: Global Vectors for Word Representation", section 4.2: X_ij sums 1/d over all places at
which j stands d words from i, d at most `window`.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import numpy as np

from unlocked.data.dataset import DATA, RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.words.text import SPECIAL
from unlocked.data.words.word_classes import CLASSES, TAGS, main_class
from unlocked.errors import DataError
from unlocked.options import check_options
from unlocked.seeding import derive_seed
from unlocked_models.contract.registry import unknown

MOST_WORDS = 30_000  # two ids in one number, and a table that memory holds


@register_data("co_occurrences", task="co_occurrence", family="texts")
def co_occurrences(
    source: Source,
    text: str = "python_manual",
    window: int = 10,
    x_max: float = 100.0,
    power: float = 0.75,
    options: dict[str, Any] | None = None,
) -> RawData:
    """Pairs of words `x (n, 2)` of a `text`, another data set with its own `options`, and `y (n, 2)`: log X_ij and its
    weight f(X_ij) = min(1, X_ij / x_max) ** power.

    Pairs are counted over all of the text, and 5 % of them are the test split. X is symmetric: each pair is there both
    ways round, in the same split. The words of `python_manual` are those of `tokens: word`.
    """
    for name, value in (("window", window), ("x_max", x_max), ("power", power)):
        if not 0 < value < math.inf:
            raise DataError(f"data.options.{name}: must be above 0 and finite, got {value}")
    raw = _text(source, text, dict(options or {}))
    assert raw.symbols is not None
    if len(raw.symbols) > MOST_WORDS:
        raise DataError(
            f"data.options.options.vocabulary: {len(raw.symbols)} words are more than the {MOST_WORDS} whose pairs are "
            "counted; give a smaller one"
        )
    splits: list[Any] = [raw.x_train, raw.x_test] if raw.x_test is not None else [raw.x_train]
    ids = np.concatenate([split.flatten() for split in splits]).astype(np.int64)
    if len(ids) <= window:
        raise DataError(
            f"data.options.window: {window} words to each side, the text has {len(ids)}; give a longer text or a "
            "smaller window"
        )
    pairs, X = _counted(ids, window, len(raw.symbols))
    if len(np.unique(pairs)) < 2:
        raise DataError(f"data {source.name!r}: the text has fewer than 2 different words, so none stands near another")
    y = np.stack([np.log(X), np.minimum(1, X / x_max) ** power], 1).astype(np.float32)
    order = np.random.default_rng(derive_seed(0, "co_occurrences")).permutation(len(pairs))
    aside = max(1, len(pairs) // 20)
    train, test = (_both_ways(pairs, y, np.sort(rows)) for rows in (order[aside:], order[:aside]))
    return RawData(
        *train,
        *test,
        symbols=raw.symbols,
        tokenizer=raw.tokenizer,
        extras_train=_tags(raw, train[0]),
        extras_test=_tags(raw, test[0]),
    )


def _text(source: Source, text: str, options: dict[str, Any]) -> RawData:
    """Windows of words of another data set."""
    if text not in DATA:
        raise DataError(f"data.options.text: {unknown('data', text, DATA.names())}")
    read = DATA.get(text)
    if "tokens" in inspect.signature(read).parameters:
        options = {"tokens": "word", **options}
    check_options("data.options.options", text, read, options, skip=1, error=DataError)
    raw = read(replace(source, name=text), **options)
    if raw.symbols is None or np.asarray(raw.x_train).ndim != 2:
        raise DataError(f"data.options.text: {text} is no text of words, whose neighbours could be counted")
    return raw


def _counted(ids: np.ndarray, window: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of words `(n, 2)`, the smaller id first, and their X; special tokens are in none."""
    keys, weights = [], []
    for distance in range(1, window + 1):
        low, high = np.minimum(ids[:-distance], ids[distance:]), np.maximum(ids[:-distance], ids[distance:])
        known = low >= len(SPECIAL)
        keys.append(low[known] * words + high[known])
        # both are near each other: a word beside itself counts twice
        weights.append(np.where(low[known] == high[known], 2.0, 1.0) / distance)
    found, place = np.unique(np.concatenate(keys), return_inverse=True)
    X = np.bincount(place, np.concatenate(weights))
    return np.stack([found // words, found % words], 1), X


def _both_ways(pairs: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """These pairs, and those of two different words also the other way round."""
    other = rows[pairs[rows, 0] != pairs[rows, 1]]
    return np.concatenate([pairs[rows], pairs[other, ::-1]]), np.concatenate([y[rows], y[other]])


def _tags(raw: RawData, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """The main class of each word of a pair, if the text has tags."""
    tags = raw.extras_train.get(TAGS)
    if tags is None or raw.symbols is None:
        return {}
    each = np.asarray(raw.x_train).flatten() * len(CLASSES) + np.asarray(tags).flatten()
    count = np.bincount(each, minlength=len(raw.symbols) * len(CLASSES)).reshape(len(raw.symbols), -1)
    return {TAGS: main_class(count)[pairs]}
