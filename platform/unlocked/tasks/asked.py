"""Tasks over whole graphs, of which a minibatch asks for some places alone: the loss is the mean over those."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from unlocked.tasks.base import Rows, Task
from unlocked_models.contract.batch import Example


class AskedTask(Task):
    """A part of a minibatch weighs as much as its examples, whose places are counted over all of it."""

    masks = True
    counts_terms = True

    @abstractmethod
    def asked(self, target: Tensor) -> Tensor:
        """Which places of `target (batch, places, ...)` are asked for, `(batch, places)`."""

    @abstractmethod
    def total(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum of the losses of those."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.part_loss(output, target, target)

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        return self.total(output, target) / (self._count(whole) * (len(target) / len(whole)))

    def terms(self, example: Example) -> int:
        return example.y_shape[0]

    def terms_of(self, rows: Rows, whole: Tensor | None, example: Example) -> Tensor:
        target = rows.y if whole is None else whole
        return self._count(target) / len(target)

    def _count(self, target: Tensor) -> Tensor:
        return self.asked(target).sum().clamp(min=1)
