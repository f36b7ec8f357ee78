"""What word vectors know of a language, measured on a tagged text: parts of speech, plurals and pasts.

part_of_speech  accuracy of logistic regression on the vectors, made of length 1 (C = 10, 3 folds), over those of
                the 6,000 most frequent words of which at least 80 % of the places have one part of speech
plural, past    of the analogies "day is to days as way is to ...", the share whose answer is among the ten nearest
                words to b - a + c (cosine; a, b and c left out); pairs are frequent words and their regular forms
plural_control  the same without the offset b - a: words that are near c anyway
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.data.words.word_classes import class_of, counted, main_class, part_of
from unlocked.decoding.words import Words

FOLDS = 3
PAIRS = 40  # of words and their forms, the most frequent: 40 * 39 analogies
TOP = 10
SHORTEST = 2  # letters of a word that has forms
MOST = 6000  # words, the most frequent, whose part of speech is asked for
LEAST = 3  # words of a part of speech that is asked for
AT_ONCE = 2000


def probes(data: DataSet, vectors: Tensor) -> dict[str, float]:
    """By name; nothing if the text has no tags, or too few words."""
    count = counted(data)
    if count is None or data.symbols is None:
        return {}
    found: dict[str, float] = {}
    accuracy = part_of_speech(count, vectors)
    if accuracy is not None:
        found["part_of_speech"] = accuracy
    words = Words(data.symbols, vectors)
    for name, pairs in (("plural", plurals(data.symbols, count)), ("past", pasts(data.symbols, count))):
        if len(pairs) > 1:
            found[name], found[f"{name}_control"] = (analogies(words, pairs, offset) for offset in (True, False))
    return found


def part_of_speech(count: np.ndarray, vectors: Tensor) -> float | None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    parts = part_of()
    by_part = np.zeros((len(count), parts.max() + 1), count.dtype)
    np.add.at(by_part.T, parts, count.T)
    frequent = np.argsort(-count.sum(1), kind="stable")[:MOST]
    y = main_class(by_part[frequent])
    sure = (y > 0) & (np.bincount(y, minlength=parts.max() + 1) >= LEAST)[y]
    if len(np.unique(y[sure])) < 2:
        return None
    x = F.normalize(vectors.detach().double().cpu(), dim=1).numpy()[frequent[sure]]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(LogisticRegression(C=10, max_iter=300), x, y[sure], cv=folds).mean())


def plurals(symbols: Sequence[str], count: np.ndarray) -> list[tuple[int, int]]:
    """A noun and its plural, by id."""
    return _pairs(symbols, count, ("noun", "noun, plural"), lambda w: (f"{w}s", f"{w}es", f"{w[:-1]}ies"))


def pasts(symbols: Sequence[str], count: np.ndarray) -> list[tuple[int, int]]:
    """A verb and its past."""
    return _pairs(symbols, count, ("verb", "verb, past"), lambda w: (f"{w}ed", f"{w}d", f"{w[:-1]}ied"))


def _pairs(
    symbols: Sequence[str], count: np.ndarray, of: tuple[str, str], forms: Callable[[str], tuple[str, ...]]
) -> list[tuple[int, int]]:
    """Words whose most frequent class is the first, and a regular form of which that is the other; the most frequent
    words first."""
    ids, best = {symbol: i for i, symbol in enumerate(symbols)}, count.argmax(1)
    one, other = (class_of(name) for name in of)
    found = []
    for i in np.argsort(-count.sum(1), kind="stable").tolist():
        if best[i] != one or len(symbols[i]) < SHORTEST:
            continue
        form = next((ids[f] for f in forms(symbols[i]) if f in ids and best[ids[f]] == other), None)
        found += [] if form is None else [(i, form)]
    return found[:PAIRS]


def analogies(words: Words, pairs: Sequence[tuple[int, int]], offset: bool = True) -> float:
    """The share of right answers among the ten nearest, over all pairs of different pairs."""
    a, b, c, d = torch.tensor([(*one, *other) for one in pairs for other in pairs if one != other]).T
    v, hits = words.vectors, 0
    for rows in torch.arange(len(a)).split(AT_ONCE):
        places = v[c[rows]] + (v[b[rows]] - v[a[rows]] if offset else 0)
        near = words.nearness(places)
        at = torch.arange(len(rows))
        for given in (a, b, c):
            near[at, given[rows]] = -torch.inf
        hits += int((near.topk(min(TOP, near.shape[1])).indices == d[rows, None]).any(1).sum())
    return hits / len(a)
