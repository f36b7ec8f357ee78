"""Words hidden from a network that is to name them: masked language modelling (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from unlocked.data.text import PAD


@dataclass(frozen=True)
class Masking:
    """Of the words of every sequence `fraction` are asked for, at least one: of those 80 % are hidden behind the token
    `hidden`, 10 % replaced by any word, 10 % left as they are.

    Ids from `first` up to, not including, `vocabulary` are words; those below are signs, which are never asked for.
    Targets are the words asked for and `PAD` elsewhere, beside targets that are signs, which stay.
    """

    hidden: int
    first: int
    vocabulary: int
    fraction: float = 0.15

    def __call__(self, x: Tensor, y: Tensor, seed: int, shard: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
        """Inputs and targets `(batch, positions)` with words hidden, as `seed` draws them; what was hidden in them
        before is shown again first.

        With `shard = (r, R)` the choices of the whole global batch are drawn and every R-th from r is used.
        """
        replica, replicas = shard
        words = torch.where(y >= self.first, y, x)
        shape = (len(x) * replicas, x.shape[1])
        g = Generator().manual_seed(seed)
        order, fate = (torch.rand(shape, generator=g)[replica::replicas].to(x.device) for _ in range(2))
        other = torch.randint(self.first, self.vocabulary, shape, generator=g)[replica::replicas].to(x.device)
        is_word = words >= self.first
        count = (self.fraction * is_word.sum(1)).round().clamp(min=1)
        rank = order.masked_fill(~is_word, 2.0).argsort(1).argsort(1)
        asked = (rank < count[:, None]) & is_word
        shown = torch.where(fate < 0.8, self.hidden, torch.where(fate < 0.9, other, words))
        signs = y.masked_fill(y >= self.first, PAD)
        return torch.where(asked, shown, words), torch.where(asked, words, signs)
