"""A task: all that goes by the kind of problem. Targets and their checks, the loss at the end of the chain, metrics,
what conditions cdni's M, figures, and what a trained network generates.

A task of one's own is a subclass in a file of its own, under `@register_task("name")`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unlocked import metrics
from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.entries import check_entry
from unlocked.tasks.phases import NET, Phase, as_it_is
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain, decoder_start
from unlocked_models.contract.registry import Registry

TASKS: Registry[type[Task]] = Registry("task")
Interval = tuple[float, float]
ANY: Interval = (-math.inf, math.inf)  # of logits


class Rows(Protocol):
    """A minibatch or a split: inputs `x (n, *in_shape)` and what the data set gives for each, `y (n, ...)`."""

    @property
    def x(self) -> Tensor | None: ...

    @property
    def y(self) -> Tensor: ...


@dataclass(frozen=True)
class Trained:
    """The trained nets of a run in evaluation mode, its data, and a folder for files that are made of them."""

    nets: Mapping[str, Chain]  # by name
    data: DataSet
    folder: Path
    shapes: Mapping[str, tuple[int, ...]]  # of one example of the input of each net

    @property
    def chain(self) -> Chain:
        """The net of a task that has one."""
        return self.nets[NET]


class Task(ABC):
    """One kind of problem; stateless, made of its keywords, which are those of `objective` in a configuration.

    `generate`, for tasks whose networks make something, is a method `(trained: Trained[, inputs], **options)` that
    gives paths of what it wrote, or texts. `inputs` is one text if it is annotated `str`, else a list of them; the
    keywords, with their annotations and defaults, are the options of `unlocked generate`.
    """

    monitor: ClassVar[str]  # the validation metric that early stopping and the best checkpoint follow
    higher_is_better: ClassVar[bool]
    also: ClassVar[tuple[str, ...]] = ()  # further metrics of every evaluation that a study may be judged by
    learns_input: ClassVar[bool] = False  # the target is the input itself
    masks: ClassVar[bool] = False  # some positions have no target, so equal parts of a minibatch need not count equally
    nets: ClassVar[tuple[str, ...]] = (NET,)  # by name, if the task needs a model of several
    counts_terms: ClassVar[bool] = False  # `terms_of` needs the targets of the minibatch
    couples: ClassVar[bool] = False  # an example's loss depends on the others of its minibatch, which stays whole
    asks_network: ClassVar[bool] = False  # `final_metrics` and `figures` need the trained network
    by_class: ClassVar[bool] = False  # splits of its data are drawn class by class
    classifies: ClassVar[bool] = (
        False  # outputs are one logit per class, targets class ids: `unlocked inspect` takes it
    )
    chooses: ClassVar[str | None] = None  # classes, labels or values: which metrics by name a configuration may add
    refuses: ClassVar[dict[str, str]] = {}  # scheme -> the mathematical reason why it cannot train for this task
    # why it has no loss of an output, so that only schemes that try whole nets train it; None: it has one
    only_tried: ClassVar[str | None] = None
    # the validation metric that a curriculum follows, to go on from what it names: below it, or above one that is to be
    # high; None: no data of the task have levels
    climbs: ClassVar[str | None] = None
    generate: ClassVar[Callable[..., Any] | None] = None

    def __init__(self) -> None:  # noqa: B027  (what it takes is read from its signature)
        """A task with options names them here, each with a default: data are loaded by a task made without."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "bits" in cls.also and cls.climbs is None:
            cls.climbs = "bits"
        if "monitor" in cls.__dict__ and hasattr(cls, "higher_is_better"):
            metrics.declare(cls.monitor, cls.higher_is_better)

    # the data ------------------------------------------------------------------------------------------------

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """Of a data set of this task: what its outputs stand for (classes, values, tokens), by name; their number is
        that of the outputs. `splits` has x, y and lengths by split; inputs have been checked.

        Raises `DataError` (`unlocked.data.arrays.wrong`) if targets are not as the task takes them.
        """
        raise wrong(name, f"its task, {task_name(type(self))}, has no targets of its own; name the task of its labels")

    def targets(self, y: np.ndarray) -> Tensor:
        """Checked targets `(n, ...)` as a split holds them: int64 ids, or float32 values."""
        return torch.from_numpy(y.astype(np.int64))

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        """Why this task cannot be made of a data set whose own task is `data_task`; None if it can."""
        return None if TASKS.get(data_task) is cls else f"its targets are for {data_task}"

    def unsuited(self, x: Tensor) -> str | None:
        """Why inputs of these values cannot be its own; None if they can."""
        return None

    def compared(self, data: DataSet) -> dict[str, Interval]:
        """By net, between which values its outputs have to be able to lie: those that they are compared with, or
        `ANY`. Nets of which nothing is known are left out."""
        return {}

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        """Why this chain cannot do the task; None if it can; shapes that do not match are reported elsewhere."""
        if decoder_start(blocks) is None:
            return None
        return "is an encoder-decoder, which reads the targets: its task is translation"

    # the objective -------------------------------------------------------------------------------------------

    @abstractmethod
    def output_shape(self, example: Example) -> tuple[int, ...]:
        """Of the chain's output for one example, without the batch axis."""

    def takes_output(self, shape: tuple[int, ...], example: Example) -> bool:
        """Whether a chain's output of this shape is the task's."""
        return shape == self.output_shape(example)

    def target(self, rows: Rows) -> Tensor:
        """What the output is compared with."""
        return rows.y

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a minibatch, a mean over its examples (and positions); scalar, with graph."""

    def part_loss(self, output: Tensor, target: Tensor, whole: Tensor) -> Tensor:
        """The loss of one part of a minibatch whose targets are `whole`, weighed by how many terms it has: the mean
        over parts of equally many examples is the loss of the minibatch."""
        return self.loss(output, target)

    def loss_of(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of a minibatch, or of one of its parts, for a task that looks at more of it than the targets."""
        target = self.target(batch)
        return self.loss(output, target) if batch.whole is None else self.part_loss(output, target, batch.whole)

    def has_classes(self, example: Example) -> bool:
        """Whether a linear layer of any h can be asked for its targets: classes, labels, or values at each position."""
        return not self.learns_input and (not example.y_real or len(example.y_shape) > 1)

    def terms(self, example: Example) -> int:
        """Of how many terms per example the loss is the mean: its positions, else 1."""
        return 1

    def terms_of(self, rows: Rows, whole: Tensor | None, example: Example) -> int | Tensor:
        """Of how many terms per example the loss of this minibatch is the mean, the scale in which M speaks. A task
        that `counts_terms` gives the number of real targets, of the `whole` minibatch if `rows` are a part of it;
        tasks of tokens do not, and count padding too.
        """
        return self.terms(example)

    def tried(self, chain: Chain, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of a net in evaluation mode its loss on a minibatch, `()`, and what it did, any numbers: for schemes that
        compare whole nets and follow no gradient."""
        output = chain(h_in, batch)
        return self.loss_of(output, batch), output

    # the metrics ---------------------------------------------------------------------------------------------

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """What the metrics need of some examples' outputs, an entry per example: the outputs, or less than them."""
        return output

    def observe(self, chain: Chain, h_in: Tensor, output: Tensor, batch: Batch) -> Tensor:
        """As `keep`, of the last module's blocks, the input that they were given, and their output."""
        return self.keep(output, self.target(batch))

    @abstractmethod
    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        """Metrics of a whole split, `loss` and `monitor` among them, from what was kept of all its examples."""

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        """The same, for a task whose metrics need more of the data than the targets of the split."""
        return self.metrics(kept, self.target(getattr(data, split)))

    def scored(self, kept: Tensor, target: Tensor, data: DataSet) -> tuple[Tensor, Tensor]:
        """What metrics by name compare: outputs of all examples, and their targets."""
        return kept, target

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """Metrics of a split that take the trained network itself, at the end of a run that `asks_network`."""
        return {}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """Figures at the end of a run, as PNG files in `folder`: of what was kept of the test split's outputs and, if
        the task `asks_network`, of the trained network."""
        return []

    def figures_of_nets(self, trained: Trained) -> list[Path]:
        """Of the trained nets of a task that has several, at the end of a run."""
        return []

    def shown(self, outputs: Tensor, data: DataSet, split: str) -> Tensor | None:
        """Of an evaluation, the outputs that `figures_over_time` shows; None: none."""
        return None

    def figures_over_time(self, shown: Mapping[int, Tensor], data: DataSet, folder: Path) -> list[Path]:
        """Of what was `shown`, by step, at the end of a run."""
        return []

    # new inputs ----------------------------------------------------------------------------------------------

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """What outputs for new inputs say, in the names of the data set: columns with a row for each input. None: they
        say nothing by themselves."""
        return None

    def written(self, trained: Trained, texts: list[str]) -> list[str] | None:
        """What the net makes of each new text, for tasks that answer with one; None: they answer with `predicted`."""
        return None

    def continued(self, trained: Trained, texts: list[str], tokens: int) -> list[str] | None:
        """The likeliest `tokens` after each new text, for tasks that go on with one; None: they do not."""
        return None

    # what conditions M ---------------------------------------------------------------------------------------

    @abstractmethod
    def context_shape(self, example: Example) -> tuple[int, ...]:
        """Of one example's context: `(features,)`, `(positions, features)` or maps `(channels, height, width)`; of ids
        `(positions,)`."""

    def context_at(self, shape: tuple[int, ...], example: Example) -> tuple[int, ...]:
        """The same at a boundary of this `shape`, for a task whose context is of h itself, not of targets."""
        return self.context_shape(example)

    def context_ids(self, example: Example) -> int | None:
        """The number below which the context's ids lie; None: it is real numbers."""
        return None

    @abstractmethod
    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        """What conditions cdni's M_k, `(batch, *context_shape)`: the target, which no module's forward pass sees
        before the last. Real numbers in the dtype of `like`, or ids."""

    # the phases of a step ------------------------------------------------------------------------------------

    def phases(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Phase]:
        """In their order; `shapes` of one example of the input of every net."""
        return [Phase(NET, (NET,), as_it_is, lambda out, batch: self.loss(out, self.target(batch)), (NET,))]

    def outcome(self, shapes: Mapping[str, tuple[int, ...]]) -> Phase:
        """The pass whose outputs are evaluated; nothing learns by it."""
        return replace(self.phases(shapes)[-1], learns=())


def interval(x: Tensor) -> Interval:
    """From the least to the greatest of its values."""
    return float(x.min()), float(x.max())


def task_name(task: type[Task]) -> str:
    return next((name for name in TASKS if TASKS.get(name) is task), task.__name__)


T = TypeVar("T", bound=type[Task])


def register_task(name: str, **facts: Any) -> Callable[[T], T]:
    """Register a task, a whole subclass of `Task`; `TypeError`, one line, for anything else."""

    def add(entry: T) -> T:
        check_entry("task", name, entry, Task, needs=("monitor", "higher_is_better"))
        TASKS.register(name, **facts)(entry)
        return entry

    return add
