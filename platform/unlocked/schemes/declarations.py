"""What a scheme says of itself before a learner is made: its options and needs, its costs, and what it cannot train."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from torch import nn

from unlocked.schema.declared import NoOptions
from unlocked.schema.keys import Config, OptimizerConfig
from unlocked.schemes.spec import ModuleSpec
from unlocked.tasks import Task
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain

# Why a scheme that begins with the gradient of a loss at the output trains no Boltzmann machine.
NO_OUTPUT_ERROR = (
    "the gradient of its likelihood holds an expectation under the machine itself, not an error at its output that "
    "could be propagated, predicted or projected; cd and pcd sample it"
)

# Why a scheme that moves weights trains no net whose wiring is searched.
NO_GRADIENT_OF_WIRING = (
    "it learns which units there are and what they see, and a connection that is missing has no gradient; "
    "neat grows them"
)

# Why a scheme that follows a gradient trains no associative memory.
NO_SLOPE = (
    "what it recalls is a state of signs, which does not move with the weights: its slope is zero wherever it has one; "
    "hebbian stores patterns by a rule"
)

# Why a scheme that tries weights and compares losses trains none either.
AT_REST = (
    "a pattern is stored as it is shown, and without any weight it is at rest: the loss that a proposal would lower is "
    "0 before the first; hebbian stores patterns by a rule"
)


class AllBut(Mapping[str, str]):
    """The same reason for every family but one."""

    def __init__(self, family: str, reason: str):
        self._family, self._reason = family, reason

    def __getitem__(self, family: str) -> str:
        if family == self._family:
            raise KeyError(family)
        return self._reason

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Beside(NamedTuple):
    """A model that a learner trains beside the blocks of its module."""

    model: nn.Module
    optimizer: OptimizerConfig


class Declarations:
    """Each has a default; a subclass of `ModuleLearner` states what differs."""

    feedback_from: ClassVar[Literal["above", "last"] | None] = None
    passes_gradients: ClassVar[bool] = False  # each module sends the gradient at its input to the one below
    why_no_lag: ClassVar[str | None] = None  # why messages cannot be consumed late; None: they can
    why_once: ClassVar[str | None] = None  # why a run sees every training example once; None: as often as it likes
    why_no_fp16: ClassVar[str | None] = None  # why no gradient may be scaled for float16; None: it may
    why_no_recompute: ClassVar[str | None] = None  # why no activation can be computed again; None: they can
    needs_labels: ClassVar[bool] = False  # the task's targets in every module, not only in the last
    averages_targets: ClassVar[bool] = False  # every module's loss is a mean over targets, not only the last one's
    Options: ClassVar[type] = NoOptions  # a dataclass: its fields are keys under `scheme.`, see `unlocked.key`
    chain_rule_inside: ClassVar[bool] = True  # gradients of a module's output at its input are exact
    exact: ClassVar[bool] = False  # all weights follow the gradient of one loss
    alone_is_backprop: ClassVar[bool] = False  # a net of one module learns by backprop: there is nothing below the last
    proposes: ClassVar[bool] = False  # tries candidates in every step, which parallel.engine may share out
    pipelines: ClassVar[bool] = False  # exact gradients, which parallel.schedule may also get from a pipeline
    # what usually helps a module that does not learn
    helps: ClassVar[str] = "another optimizer.lr, fewer parallel.modules or a control under backprop shows why"
    # what it records, in words; a series that is not here is named by its metric alone
    series_words: ClassVar[Mapping[str, str]] = {
        "local/loss": "a block's own loss",
        "scale/factor": "what fp16 gradients are multiplied by",
        "scale/skipped": "steps left out, as fp16 gradients overflowed",
        "sg/time_loss": "the loss of M through time",
    }
    # family -> the mathematical reason why it cannot train under this
    refuses: ClassVar[Mapping[str, str]] = {
        "boltzmann": NO_OUTPUT_ERROR,
        "evolved": NO_GRADIENT_OF_WIRING,
        "associative": NO_SLOPE,
    }

    @classmethod
    def check(cls, config: Config) -> None:
        """Raises `ConfigError` for options that cannot go together, or not with the rest of the configuration."""

    @classmethod
    def why_no_compile(cls, config: Config) -> str | None:
        """Why passes of its blocks cannot be compiled; None: they can."""
        return None

    @classmethod
    def figures(cls, config: Config, chain: Chain, state: Mapping[str, Any], folder: Path) -> list[Path]:
        """At the end of a run, of what a learner of a scheme that `proposes` held: `state`, of its last checkpoint."""
        return []

    @classmethod
    def beside(cls, config: Config, spec: ModuleSpec, task: Task) -> dict[str, Beside]:
        """The models that a learner of this module trains beside its blocks, drawn from the seed of the run.

        The learner holds each under its name, as an attribute, and its optimiser as `<name>_optimizer`; a dry run
        counts their parameters, on the device "meta".
        """
        return {}

    @classmethod
    def cost(cls, config: Config, spec: ModuleSpec, task: Task) -> float:
        """What it computes for one example beside a module that ends with `spec.stop` and is not the last, in
        floating-point operations (`unlocked.chain.operations`): a cut counts it, and a dry run shows it. Of `spec` only
        the end is settled. `math.inf`: no module can end there."""
        return 0.0

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        """Numbers kept from step to step beside weights, gradients and optimiser state, of minibatches of `rows`."""
        return rows * math.prod(spec.out_shape) * (lag + 1)

    @classmethod
    def late_inputs(cls, config: Config) -> bool:
        """Whether modules run before the activations below arrive, and read the minibatch again when they do."""
        return False

    @classmethod
    def auto_lag(cls, modules: int) -> int:
        """The smallest lag at which no worker waits for a message."""
        return 0

    @classmethod
    def error_shape(
        cls, config: Config, blocks: Sequence[nn.Module], stops: Sequence[int], example: Example
    ) -> tuple[int, ...] | None:
        """Of what the last module sends to all others, for one example; None: of its output.

        Raises `ConfigError` if the scheme cannot train these blocks, cut into modules that end before `stops`.
        """
        return None

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        """Why it cannot train these blocks for this task, mathematically: `cannot train ...`; None: it can.

        Raises `ConfigError` if another option, or another cut, would do.
        """
        return None
