"""Parts of speech, as a tagged text gives them: the extra `tags` of its examples, ids beside those of the words.

Any data set of texts may give it: integers `(n, positions)`, 0 for a word without a class, else the place in `CLASSES`.
Tasks of word vectors then measure what the vectors know of them (`unlocked.tasks.word_probe`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unlocked.data.dataset import DataSet
from unlocked.data.words.text import SPECIAL

TAGS = "tags"
CLASSES = (
    "",
    "noun",
    "noun, plural",
    "name",
    "name, plural",
    "verb",
    "verb, past",
    "adjective",
    "adverb",
    "number",
    "pronoun",
    "determiner",
    "preposition",
    "conjunction",
    "particle",
)
PARTS = tuple(dict.fromkeys(name.partition(",")[0] for name in CLASSES))  # of speech
SURE = 0.8  # share of a word's places that its class has, or the word has none


def class_of(name: str) -> int:
    return CLASSES.index(name)


def part_of() -> np.ndarray:
    """By class, the part of speech: a place in `PARTS`."""
    return np.array([PARTS.index(name.partition(",")[0]) for name in CLASSES])


def counted(data: DataSet) -> np.ndarray | None:
    """How often each word of the training split has each class, `(words, classes)`; None if the text has no tags."""
    tags = data.train.extras.get(TAGS)
    if not isinstance(tags, Tensor) or data.symbols is None:
        return None
    each = data.train.x * len(CLASSES) + tags.clamp(0, len(CLASSES) - 1)
    count = torch.bincount(each.flatten().cpu(), minlength=len(data.symbols) * len(CLASSES))
    count = count.view(len(data.symbols), len(CLASSES))
    count[: len(SPECIAL)] = 0
    return count.numpy()


def main_class(count: np.ndarray) -> np.ndarray:
    """The place of the class that has at least `SURE` of each word's places; 0 if none has."""
    total = count.sum(1)
    best = count.argmax(1)
    return np.where(count.max(1) >= SURE * np.maximum(total, 1), best, 0)
