"""Word pairs and negative samples, drawn anew in every minibatch: skip-gram (Mikolov et al. 2013, arXiv:1310.4546).

Every word of a row is the centre of one pair. Its context is a word of the same row at most `window` away: as the
authors' program draws the window's width from 1 to `window`, a word at distance d has weight window + 1 - d; one beyond
the end of a sentence, if the text marks it (`</s>`), has none. Frequent words are left out, as centres and as contexts,
by their equation 5: a word of relative frequency f is kept with probability sqrt(sample / f). Negatives are words by
their frequency to the power 3/4 (section 2.2).

The transform `windows` has all contexts of a word at once.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from unlocked.data.transform import register_transform
from unlocked.data.transforms.windows import WordPairs, sentences
from unlocked.data.words.text import PAD
from unlocked_models.contract.batch import Batch


@register_transform("skipgram")
class SkipGram(WordPairs):
    """Asks every word for one near it: `y` is that word, `candidates` that word and `negatives` others.

    Of texts `x (batch, positions)`: `y (batch, positions)`, 0 if a word is left out or alone in its window, and the
    extra `candidates (batch, positions, 1 + negatives)`, the true word first. A negative that is the true word is
    replaced by another draw. Without negatives (0), for `model.softmax: full`, there is no extra.
    """

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        positions = batch.y.shape[1]
        stays, near = (torch.rand(n, positions, generator=generator, dtype=torch.float64) for _ in range(2))
        others = torch.rand(n, positions, 2 * self.negatives, generator=generator, dtype=torch.float64)
        return stays, near, others

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (stays, near, others), x = choices, batch.x
        assert x is not None
        kept = self.kept.to(x.device)[x.clamp(max=len(self.kept) - 1)] * (x < len(self.kept))  # (batch, positions)
        place = torch.arange(x.shape[1], device=x.device)
        distance = (place - place[:, None]).abs()
        weight = (self.window + 1 - distance).clamp(min=0) * (distance > 0)  # (positions, positions)
        of = sentences(x)
        chance = (weight * kept[:, None, :] * (of[:, None, :] == of[..., None])).cumsum(-1)
        total = chance[..., -1:]
        at = (chance <= near[..., None] * total).sum(-1).clamp(max=x.shape[1] - 1)
        true = x.gather(1, at).masked_fill((stays >= kept) | (total[..., 0] == 0), PAD)
        if not self.negatives:
            return replace(batch, y=true)
        return replace(batch, y=true, extras={**batch.extras, "candidates": self.candidates(true, others)})
