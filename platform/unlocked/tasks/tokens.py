"""Language modelling: the next token at every position; cross entropy, perplexity, bits per token."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data.text import PAD
from unlocked.tasks.base import TASKS, Rows, Task
from unlocked_models.contract.batch import Example


@TASKS.register("language_modelling")
class LanguageModelling(Task):
    """Outputs are logits `(batch, positions, vocabulary)`, targets ids `(batch, positions)`, of which 0 is padding.

    The loss is the mean over the tokens of a minibatch, in nats; zero where all of it is padding, as a window at the
    beginning of a copy task's episode.
    """

    monitor = "loss"
    higher_is_better = False
    masks = True
    also = ("bits", "perplexity", "accuracy")

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (*example.y_shape, example.n_outputs)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.part_loss(output, target, target)

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        nats = F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum")
        return nats / ((whole != PAD).sum().clamp(min=1).to(nats.dtype) * (len(target) / len(whole)))

    def terms(self, example: Example) -> int:
        return math.prod(example.y_shape)

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch, positions, 2)`: nats of the target, and whether it is the likeliest token."""
        nats = F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
        return torch.stack([nats, (output.argmax(-1) == target).to(nats.dtype)], -1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        counted = (target != PAD).cpu()
        nats, right = kept.double().cpu()[counted].mean(0).tolist()
        return {"loss": nats, "perplexity": math.exp(min(nats, 700.0)), "bits": nats / math.log(2), "accuracy": right}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return example.y_shape

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y


@TASKS.register("masked_language_modelling")
class MaskedLanguageModelling(LanguageModelling):
    """BERT's two tasks (Devlin et al. 2019, section 3.1): the words that were hidden, and, at the first position,
    whether the second sentence followed the first.

    Outputs and targets as for language modelling, 0 where nothing is asked. The loss is the mean over the hidden words
    of a minibatch plus that over its first positions, in nats; `perplexity`, `bits` and `accuracy` are of the words,
    `pairs` is the accuracy at the first position.
    """

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        words = super().part_loss(output[:, 1:], target[:, 1:], whole[:, 1:])
        return words + super().part_loss(output[:, :1], target[:, :1], whole[:, :1])

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        words = super().metrics(kept[:, 1:], target[:, 1:])
        asked = (target[:, 0] != PAD).cpu()
        if not asked.any():
            return words
        nats, right = kept[:, 0].double().cpu()[asked].mean(0).tolist()
        return {**words, "loss": words["loss"] + nats, "pairs": right}
