"""What word vectors say: the words nearest to one, and analogies (Mikolov et al. 2013, arXiv:1301.3781)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data.words.text import SPECIAL
from unlocked.errors import ConfigError
from unlocked_models.contract.registry import unknown

MEASURES = ("cosine", "euclidean")


class Words:
    """The vectors `(words, width)` of `symbols`, and how near they are to each other.

    Args:
        measure: cosine: nearness is the cosine of the angle, and analogies add vectors of length 1; euclidean: nearness
            is the negative distance of the vectors as they are.
    """

    def __init__(self, symbols: Sequence[str], vectors: Tensor, measure: str = "cosine"):
        if measure not in MEASURES:
            raise ConfigError(f"measure: {unknown('measure', measure, MEASURES)}")
        self.symbols, self.measure = symbols, measure
        vectors = vectors.detach().double().cpu()
        self.vectors = F.normalize(vectors, dim=1) if measure == "cosine" else vectors
        self._ids = {symbol: i for i, symbol in enumerate(symbols) if i >= len(SPECIAL)}

    def id_of(self, word: str) -> int:
        """As it is written, else in small letters; `ConfigError` for a word that is not in the vocabulary."""
        found = self._ids.get(word, self._ids.get(word.lower()))
        if found is None:
            words = [known for known in self._ids if known.isalpha()] or list(self._ids)  # punctuation tells nobody
            raise ConfigError(f"--input: {unknown('word', word, words)}")
        return found

    def nearness(self, places: Tensor) -> Tensor:
        """Of all words to points `(n, width)`: `(n, words)`; special tokens are infinitely far."""
        if self.measure == "cosine":
            near = F.normalize(places, dim=1) @ self.vectors.T
        else:
            near = -torch.cdist(places, self.vectors)
        near[:, : len(SPECIAL)] = -torch.inf
        return near

    def nearest(self, words: Sequence[int], top: int) -> list[tuple[str, float]]:
        """The words nearest to one (`[word]`), or d of "a is to b as c is to d" (`[a, b, c]`): those nearest to
        b - a + c. Words that were given are left out."""
        near = self.nearness(self.place(words)[None])[0]
        near[list(words)] = -torch.inf
        values, ids = near.topk(min(top, int(near.isfinite().sum())))
        return [(self.symbols[i], value) for i, value in zip(ids.tolist(), values.tolist(), strict=True)]

    def place(self, words: Sequence[int]) -> Tensor:
        if len(words) == 1:
            return self.vectors[words[0]]
        a, b, c = (self.vectors[word] for word in words)
        return b - a + c


def answer(words: Words, asked: str, top: int) -> str:
    """One line to a text of one word (its neighbours), or of three (an analogy)."""
    if top < 1:
        raise ConfigError(f"top: must be at least 1, got {top}")
    ids = [words.id_of(word) for word in asked.split()]
    if len(ids) not in (1, 3):
        raise ConfigError(
            f"--input: {asked!r} is {len(ids)} words; one asks for its neighbours, three (man king woman) for a fourth"
        )
    found = ", ".join(f"{word} {abs(value):.2f}" for word, value in words.nearest(ids, top))
    named = [words.symbols[i] for i in ids]
    question = named[0] if len(ids) == 1 else f"{named[0]} is to {named[1]} as {named[2]} to"
    return f"{question}: {found}"
