"""Words hidden from a network that is to name them: masked language modelling (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from unlocked.data.transform import PerExample, register_transform
from unlocked.data.words.text import PAD
from unlocked_models.contract.batch import Batch, Example


@register_transform("masking")
class Masking(PerExample):
    """Hides words, which the targets then ask for.

    Of every sequence's words `fraction`, at least one; of those 80 % are replaced by the token `hidden`, 10 % by any
    word, and 10 % left as they are.

    Ids from `first` up to, not including, `vocabulary` are words; those below are signs, which are never asked for.
    Targets are the words asked for and `PAD` elsewhere; targets that are signs stay. Any earlier masking is undone
    first.
    """

    evaluates = True

    def __init__(self, hidden: int, first: int, vocabulary: int, fraction: float = 0.15):
        self.hidden, self.first, self.vocabulary, self.fraction = hidden, first, vocabulary, fraction

    def refuse(self, example: Example) -> str | None:
        if example.vocabulary and len(example.in_shape) == 1 and example.y_shape == example.in_shape:
            return None
        return "hides tokens, of sequences of ids that have a target at every position"

    def example(self, example: Example) -> Example:
        return replace(example, masked=True)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        shape = (n, batch.y.shape[1])
        order, fate = (torch.rand(shape, generator=generator) for _ in range(2))
        return order, fate, torch.randint(self.first, self.vocabulary, shape, generator=generator)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (order, fate, other), x, y = choices, batch.x, batch.y
        assert x is not None
        words = torch.where(y >= self.first, y, x)
        is_word = words >= self.first
        count = (self.fraction * is_word.sum(1)).round().clamp(min=1)
        rank = order.masked_fill(~is_word, 2.0).argsort(1).argsort(1)
        asked = (rank < count[:, None]) & is_word
        shown = torch.where(fate < 0.8, self.hidden, torch.where(fate < 0.9, other, words))
        signs = y.masked_fill(y >= self.first, PAD)
        return replace(batch, x=torch.where(asked, shown, words), y=torch.where(asked, words, signs))
