"""Negative sampling: a true word told from words drawn at random (Mikolov et al. 2013, arXiv:1310.4546, equation 4).

L = mean over pairs of  -log sigma(s_0) - sum_i log sigma(-s_i),    s_0 the true word's score, s_i those of negatives

The true word of a pair is one that stood near the other, which the net was given; a position may have several.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data.words.text import PAD
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.word_vectors import WordVectors
from unlocked_models.contract.batch import Example

REDRAWN = "a coordinate of the output is the score of a word that every minibatch draws anew, so fixed weights on it "


@register_task("negative_sampling")
class NegativeSampling(WordVectors):
    """Tells the word that stood near from others: scores `(batch, positions, candidates)`, the true one first.

    Targets are the true words `(batch, positions)`, 0 at positions without one. If each position has the words of a
    window, targets are `(batch, positions, slots)` and scores have an axis of slots too. `accuracy` is the share of
    pairs whose true word has the highest score. Of any text, by the transforms `skipgram`, `windows` and `cbow`.
    """

    monitor = "accuracy"
    higher_is_better = True
    masks = True
    refuses: ClassVar[dict[str, str]] = {
        "dfa": REDRAWN + "(B e) mean another word each time",
        "local": REDRAWN + "(a linear classifier of h) mean another word each time",
    }

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if any(extra.name in ("candidates", "negatives") for extra in example.extras):
            return None
        return "its minibatches have no candidates; data.transforms=[skipgram] draws them"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        shapes = {extra.name: extra.shape for extra in example.extras}
        own = shapes.get("candidates")
        return (*example.y_shape, 1 + shapes["negatives"][-1]) if own is None else own

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.part_loss(output, target, target)

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        nats = _nats(output)[target != PAD].sum()
        return nats / ((whole != PAD).sum().clamp(min=1).to(nats.dtype) * (len(target) / len(whole)))

    def terms(self, example: Example) -> int:
        return math.prod(example.y_shape)

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch, positions, [slots,] 2)`: nats of each pair, and whether its true word scores highest."""
        right = output[..., 0] > output[..., 1:].amax(-1)
        return torch.stack([_nats(output), right.to(output.dtype)], -1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        nats, right = kept.double().cpu()[(target != PAD).cpu()].mean(0).tolist()
        return {"loss": nats, "accuracy": right}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return example.y_shape[:1]

    def context_ids(self, example: Example) -> int | None:
        return example.vocabulary

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        """The true word at every position; of several the nearest."""
        if rows.y.dim() == 2:
            return rows.y
        return rows.y.gather(2, (rows.y != PAD).int().argmax(-1, keepdim=True))[..., 0]


def _nats(scores: Tensor) -> Tensor:
    return F.softplus(-scores[..., 0]) + F.softplus(scores[..., 1:]).sum(-1)
