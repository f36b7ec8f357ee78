"""Hebbian storage: an associative memory takes in its patterns one after the other, each once, by a rule of its own.

Hopfield 1982; the rules are `unlocked_models.associative.RULES`. What a weight changes by depends on the two units at
its ends and, under `storkey` and `projection`, on their inputs: there is no error and no gradient, and the optimiser
and its options are not used. One pass over the data is all there is to learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.declarations import AllBut
from unlocked.schemes.registry import register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.tasks import Task
from unlocked_models.associative import RULES, AssociativeMemory
from unlocked_models.contract.batch import Batch

NO_PAIRS = (
    "it strengthens a weight between two units that are alike in a pattern, and only an associative memory has a "
    "weight between every two numbers of its input"
)


@dataclass
class HebbianConfig:
    """How an associative memory stores a pattern."""

    rule: str = key("hebb", "by which a pattern is stored", choices=tuple(RULES))


@dataclass
class HebbianOptions:
    hebbian: HebbianConfig = group(HebbianConfig)


@register_scheme("hebbian")
class Hebbian(ModuleLearner):
    """Storage by Hebb's rule, Storkey's or the projection (Hopfield 1982): each pattern once, without a gradient."""

    Options = HebbianOptions
    options: HebbianOptions
    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    why_once: ClassVar[str | None] = "hebbian stores every pattern once"
    why_no_fp16: ClassVar[str | None] = "it has no gradients that a scale would save"
    helps: ClassVar[str] = "fewer patterns (data.options.number) or scheme.hebbian.rule=projection"
    refuses: ClassVar[Mapping[str, str]] = AllBut("associative", NO_PAIRS)
    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "unstable": "the share of a pattern's units that would flip, just stored",
    }

    @classmethod
    def why_no_compile(cls, config: Config) -> str | None:
        return "it runs no forward pass"

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        if not all(isinstance(block, AssociativeMemory) for block in blocks):
            return f"cannot train {config.model['name']}: {NO_PAIRS}"
        if config.train.average is not None:
            raise ConfigError("train.average: hebbian adds pattern to pattern, and a mean over steps would lose some")
        if config.parallel.replicas > 1:
            raise ConfigError(
                f"parallel.replicas: {config.parallel.replicas}, but a pattern is stored into what all patterns before "
                f"it have left; set 1"
            )
        return None

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        return 0

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        (block,) = self.chain
        assert isinstance(block, AssociativeMemory)
        self.record("unstable", block.store(h_in, self.options.hebbian.rule))
