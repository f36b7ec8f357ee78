"""Pairs of sentences as token ids: what a parallel corpus is made into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import normalizers
from torch import Tensor

from unlocked.data.dataset import RawData
from unlocked.data.words import tokenize
from unlocked.data.words.text import BOS, EOS, PAD
from unlocked.errors import DataError

Pair = tuple[str, str]  # a sentence and its translation

TEST_FRACTION = 0.1


Frame = tuple[list[int], list[int]]  # ids before and behind the tokens of a sequence
ENDED: Frame = ([], [EOS])


def ended(sequences: Sequence[Sequence[int] | np.ndarray], length: int) -> np.ndarray:
    """Ids `(n, length)`: each sequence, </s>, padding. One of more than `length` - 1 ids is a `ValueError`."""
    return framed(sequences, length, ENDED)


def framed(sequences: Sequence[Sequence[int] | np.ndarray], length: int, frame: Frame) -> np.ndarray:
    """Ids `(n, length)`: each sequence in its frame, padding. One that does not fit is a `ValueError`."""
    rows, (before, behind) = np.full((len(sequences), length), PAD, np.int64), frame
    for row, ids in zip(rows, sequences, strict=True):
        whole = [*before, *ids, *behind]
        if len(whole) > length:
            raise ValueError(f"{len(ids)} tokens, at most {length - len(before) - len(behind)} fit")
        row[: len(whole)] = whole
    return rows


def frame_of(x: Tensor) -> Frame:
    """The frame in which sources `(n, S)` stand: whether most begin with <s>, and whether most end in </s>. What is
    translated later has to look as it did in training."""
    last = x.gather(1, ((x != PAD).cumsum(1).argmax(1))[:, None])[:, 0]
    begins, ends = ((ids == sign).float().mean() > 0.5 for ids, sign in ((x[:, 0], BOS), (last, EOS)))
    return [BOS] * bool(begins), [EOS] * bool(ends)


def made_of(
    name: str, pairs: Sequence[Pair], length: int, tokens: str, vocabulary: int | None, lowercase: bool
) -> RawData:
    """A data set of translation, of which a tenth of the pairs, always the same, is the test split.

    Both sides share one tokeniser (Vaswani et al. 2017, section 5.1), fitted on the training pairs: `tokens` and
    `vocabulary` as `unlocked.data.words.tokenize.fit` takes them. Pairs with a side that is empty or of more than
    `length` tokens, </s> among them, are left out. Raises `DataError` if an option leaves nothing.
    """
    if length < 2:
        raise DataError(f"data.options.length: must be at least 2 (a token and the end), got {length}")
    if lowercase:
        pairs = [(source.lower(), target.lower()) for source, target in pairs]
    splits = dict(zip(("training", "test"), _drawn(pairs), strict=True))
    tokenizer = tokenize.fit(name, tokens, "\n".join(side for pair in splits["training"] for side in pair), vocabulary)
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    arrays = []
    for part, chosen in splits.items():
        sides = ([tokenize.encode(tokenizer, side.strip()) for side in pair] for pair in chosen)
        kept = [(source, target) for source, target in sides if 0 < len(source) < length and 0 < len(target) < length]
        if not kept:
            raise DataError(
                f"data {name!r}: no {part} pair has at most data.options.length {length} tokens on both sides"
            )
        arrays.append([ended(side, length) for side in zip(*kept, strict=True)])
    (x_train, y_train), (x_test, y_test) = arrays
    return RawData(x_train, y_train, x_test, y_test, symbols=tokenize.symbols(tokenizer), tokenizer=tokenizer.to_str())


def _drawn(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Training and test pairs."""
    chosen = np.random.default_rng(0).permutation(len(pairs))[: round(TEST_FRACTION * len(pairs))]
    aside = set(chosen.tolist())
    train, test = ([pair for i, pair in enumerate(pairs) if (i in aside) == test] for test in (False, True))
    return train, test
