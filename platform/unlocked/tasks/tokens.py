"""Language modelling: the next token at every position; cross entropy, perplexity, bits per token."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays, check_ids
from unlocked.data.transforms.masking import Masking
from unlocked.data.words.text import PAD
from unlocked.decoding.text import written_on
from unlocked.tasks.base import Rows, Task, Trained, register_task, task_name
from unlocked.tasks.predicting import Columns, of_tokens
from unlocked_models.contract.batch import Batch, Example


class Tokens(Task):
    """What tasks share whose targets are ids, one at every position.

    Outputs are logits `(batch, positions, vocabulary)`, targets ids `(batch, positions)`, of which 0 is padding.

    The loss is the mean over the tokens of a minibatch, in nats; zero where all of it is padding, as a window at the
    beginning of a copy task's episode.
    """

    monitor = "loss"
    higher_is_better = False
    masks = True
    also = ("bits", "perplexity", "accuracy")
    hides: ClassVar[bool] = False  # words of the inputs, which the targets ask for

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y (n, positions)` is ids of `class_names`, by default of `symbols`; 0 at positions without a target."""
        for part, (x, y, _) in splits.items():
            check_targets(name, part, y, len(x))
        if any(isinstance(each, Masking) for each in raw.transforms) != self.hides:
            needs = task_name(MaskedLanguageModelling)
            raise wrong(name, f"transforms: a Masking is what {needs} needs, and no other task")
        tokens = raw.symbols if raw.class_names is None else raw.class_names
        if tokens is None:
            raise wrong(name, "symbols, the vocabulary, is needed where targets are tokens")
        for part, (_, ids, _) in splits.items():
            check_ids(name, f"y_{part}", ids, len(tokens))
            if not ids.any():
                raise wrong(name, f"y_{part} holds nothing but padding")
        return list(tokens)

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

    def context_ids(self, example: Example) -> int | None:
        return example.n_outputs

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y


@register_task("language_modelling")
class LanguageModelling(Tokens):
    """The next token at every position: outputs, targets and loss as for `Tokens`."""

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """The token after each text."""
        assert batch.x is not None
        last = (batch.x != PAD).cumsum(1).argmax(1)
        return of_tokens(output[torch.arange(len(output)), last], data.class_names)

    def continued(self, trained: Trained, texts: list[str], tokens: int) -> list[str] | None:
        return [written_on(trained.chain, trained.data, text, tokens, greedy=True).removeprefix(text) for text in texts]

    def generate(
        self,
        trained: Trained,
        prompt: str = "",
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        greedy: bool = False,
        seed: int = 0,
    ) -> str:
        """The prompt and `length` tokens after it: `unlocked.decoding.text.written_on`."""
        return written_on(trained.chain, trained.data, prompt, length, temperature, top_k, top_p, greedy, seed)


@register_task("masked_language_modelling")
class MaskedLanguageModelling(Tokens):
    """BERT's two tasks (Devlin et al. 2019, section 3.1): the words that were hidden, and, at the first position,
    whether the second sentence followed the first.

    Outputs and targets as for `Tokens`, 0 at positions that are not asked. The loss is the mean over the hidden words
    of a minibatch plus that over its first positions, in nats; `perplexity`, `bits` and `accuracy` are of the words,
    `pairs` is the accuracy at the first position.
    """

    hides = True

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


def check_targets(name: str, part: str, y: np.ndarray, n: int) -> None:
    """Of `n` examples, `(n, positions)` whole numbers."""
    if y.ndim != 2 or y.dtype.kind not in "iu" or y.size == 0:
        raise wrong(name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs token ids of shape ({n}, positions)")
