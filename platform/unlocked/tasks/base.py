"""What a task gives the engine: the loss at the end of the chain, and the metrics of an evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from unlocked_models.registry import Registry

TASKS: Registry[type[Task]] = Registry("task")


class Task(ABC):
    """Objective and metrics of one kind of problem; stateless."""

    monitor: ClassVar[str]  # the validation metric that early stopping and the best checkpoint follow
    higher_is_better: ClassVar[bool]

    @abstractmethod
    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """The loss of a minibatch, averaged over its examples; scalar, with graph."""

    @abstractmethod
    def metrics(self, output: Tensor, y: Tensor) -> dict[str, float]:
        """Metrics of a whole split, from the outputs of all its examples."""

    @abstractmethod
    def context(self, y: Tensor, n_outputs: int, like: Tensor) -> Tensor:
        """What conditions cdni's M_k, `(batch, features)`: the label, which the forward pass never sees."""
