"""What a task gives the engine: the target, the loss at the end of the chain, the metrics of an evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import Tensor, nn

from unlocked import metrics
from unlocked.data import DataSet
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, decoder_start
from unlocked_models.contract.registry import Registry

TASKS: Registry[type[Task]] = Registry("task")


class Rows(Protocol):
    """A minibatch or a split: inputs `x (n, *in_shape)` and what the data set gives for each, `y (n, ...)`."""

    @property
    def x(self) -> Tensor | None: ...

    @property
    def y(self) -> Tensor: ...


class Task(ABC):
    """Objective and metrics of one kind of problem; stateless."""

    monitor: ClassVar[str]  # the validation metric that early stopping and the best checkpoint follow
    higher_is_better: ClassVar[bool]
    also: ClassVar[tuple[str, ...]] = ()  # further metrics of every evaluation that a study may be judged by
    learns_input: ClassVar[bool] = False  # the target is the input itself
    masks: ClassVar[bool] = False  # some positions have no target, so equal parts of a minibatch need not count equally
    asks_network: ClassVar[bool] = False  # the trained network is asked more than its outputs: `final_metrics`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "monitor" in cls.__dict__ and hasattr(cls, "higher_is_better"):
            metrics.declare(cls.monitor, cls.higher_is_better)

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        """Why this task cannot be made of a data set whose own task is `data_task`; None where it can."""
        return None if TASKS.get(data_task) is cls else f"its targets are for {data_task}"

    @classmethod
    def unsuited(cls, x: Tensor) -> str | None:
        """Why inputs of these values cannot be its own; None where they can."""
        return None

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        """Why this chain cannot do the task; None where it can, and where its shapes say so anyway."""
        if decoder_start(blocks) is None:
            return None
        return "is an encoder-decoder, which reads the targets: its task is translation"

    @abstractmethod
    def output_shape(self, example: Example) -> tuple[int, ...]:
        """Of the chain's output for one example, without the batch axis."""

    def target(self, rows: Rows) -> Tensor:
        """What the output is held against."""
        return rows.y

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a minibatch, a mean over its examples (and positions); scalar, with graph."""

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        """The loss of one part of a minibatch whose targets are `whole`, weighed by how many terms it has: the mean
        over parts of equally many examples is the loss of the minibatch."""
        return self.loss(output, target)

    def terms(self, example: Example) -> int:
        """Of how many terms per example the loss is the mean: its positions, else 1."""
        return 1

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """What the metrics need of some examples' outputs, an entry per example: the outputs, or less than them."""
        return output

    @abstractmethod
    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        """Metrics of a whole split, `loss` and `monitor` among them, from what was kept of all its examples."""

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """Metrics of a split that take the trained network itself, at the end of a run that `asks_network`."""
        return {}

    @abstractmethod
    def context_shape(self, example: Example) -> tuple[int, ...]:
        """Of one example's context: `(features,)`, `(positions, features)` or maps `(channels, height, width)`; or, of
        ids below `example.n_outputs`, `(positions,)` where the targets have positions."""

    @abstractmethod
    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        """What conditions cdni's M_k, `(batch, *context_shape)`: the target, which no module's forward pass sees
        before the last. Real numbers in the dtype of `like`, or ids."""
