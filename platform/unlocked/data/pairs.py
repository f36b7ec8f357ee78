"""Pairs of sentences as token ids: what a parallel corpus is made into."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from unlocked.data.dataset import RawData
from unlocked.data.text import EOS, SPECIAL, UNK
from unlocked.errors import DataError

Pair = tuple[str, str]  # a sentence and its translation

TEST_FRACTION = 0.1


def words(text: str, lowercase: bool = True) -> list[str]:
    """Words and punctuation marks of a sentence; an apostrophe ends a word.

    >>> words("C'est l'heure (déjà).")
    ["c'", 'est', "l'", 'heure', '(', 'déjà', ')', '.']
    """
    return re.findall(r"\w+['’]?|[^\w\s]", text.lower() if lowercase else text)


def vocabulary_of(sentences: Iterable[Sequence[str]], most: int) -> list[str]:
    """The special tokens, then the most frequent others, `most` tokens in all; equally frequent ones by alphabet."""
    counts = Counter(token for sentence in sentences for token in sentence)
    frequent = sorted(counts, key=lambda token: (-counts[token], token))
    return [*SPECIAL, *frequent[:max(most - len(SPECIAL), 0)]]


def encode(sentences: Sequence[Sequence[str]], symbols: Sequence[str], length: int) -> np.ndarray:
    """Ids `(n, length)`: each sentence, <unk> for what the vocabulary lacks, </s>, then padding.

    A sentence of more than `length` - 1 tokens is a `ValueError`.
    """
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    rows = np.zeros((len(sentences), length), np.int64)
    for row, sentence in zip(rows, sentences, strict=True):
        if len(sentence) >= length:
            raise ValueError(f"{len(sentence)} tokens, at most {length - 1} fit")
        row[:len(sentence) + 1] = [*(ids.get(token, UNK) for token in sentence), EOS]
    return rows


def made_of(name: str, pairs: Sequence[Pair], length: int, vocabulary: int, lowercase: bool = True,
            test: Sequence[Pair] | None = None) -> RawData:
    """A data set of translation: word by word, pairs with a side of more than `length` tokens (</s> counts) left out.

    Without a `test` split of its own a tenth of the pairs is drawn for it, always the same. Vocabularies of at most
    `vocabulary` tokens each are counted on the others. Raises `DataError` where an option leaves nothing.
    """
    if length < 2:
        raise DataError(f"data.options.length: {length} is not at least 2, a word and the end")
    if vocabulary <= len(SPECIAL):
        raise DataError(f"data.options.vocabulary: {vocabulary} tokens, of which {len(SPECIAL)} are padding, begin, "
                        f"end and unknown")
    splits = [_short(part, length, lowercase) for part in (pairs, test or [])]
    if test is None:
        splits = _drawn(splits[0])
    for part, kept in zip(("training", "test"), splits, strict=True):
        if not kept:
            raise DataError(f"data {name!r}: no {part} pair has at most data.options.length {length} tokens on both "
                            f"sides")
    symbols, targets = (vocabulary_of((pair[side] for pair in splits[0]), vocabulary) for side in (0, 1))
    (x_train, y_train), (x_test, y_test) = ([encode([pair[side] for pair in part], (symbols, targets)[side], length)
                                             for side in (0, 1)] for part in splits)
    return RawData(x_train, y_train, x_test, y_test, symbols=symbols, class_names=targets)


def _short(pairs: Sequence[Pair], length: int, lowercase: bool) -> list[tuple[list[str], list[str]]]:
    sides = ((words(source, lowercase), words(target, lowercase)) for source, target in pairs)
    return [(source, target) for source, target in sides if 0 < len(source) < length and 0 < len(target) < length]


def _drawn(pairs: list[tuple[list[str], list[str]]]) -> list[list[tuple[list[str], list[str]]]]:
    """Training and test pairs."""
    chosen = np.random.default_rng(0).permutation(len(pairs))[:round(TEST_FRACTION * len(pairs))]
    aside = set(chosen.tolist())
    return [[pair for i, pair in enumerate(pairs) if (i in aside) == test] for test in (False, True)]
