"""Stacking: every block is a net of one hidden layer that learns the targets by itself, its upper weights in closed
form.

Deng and Yu 2011, "Deep Convex Net"; Deng, Yu and Platt 2012, "Scalable Stacking and Learning for Building Deep
Architectures". Of a minibatch with hidden values H = h(W) and targets T (one-hot classes, or values) block k has

    E(W) = min over U of  mean |U^T h - t|^2 + penalty |U|^2,    U* = (H^T H / n + penalty I)^-1 H^T T / n
    dE/dW = that of mean |U*^T h - t|^2 with U* held fixed

The second line is exact: at its minimum the whole of E has no slope in U. So a step solves U, moves W by the optimiser,
and solves U again. U is of one minibatch, so minibatches should be as large as memory holds. Nothing comes back from
above: every block may have a worker. The papers train one block after the other: `pretrain.scheme=stacking`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner
from unlocked.schemes.blockwise import BlockLearner
from unlocked.schemes.declarations import AllBut
from unlocked.schemes.registry import register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain
from unlocked_models.stacked import StackedModule

NO_TARGETS_INSIDE = (
    "it solves for the weights between a hidden layer and the targets, and only blocks of a stacked net give the "
    "targets, each by itself"
)


@dataclass
class StackingConfig:
    """Of the upper weights of a block, which are solved for."""

    penalty: float = key(1e-3, "of the square of the upper weights", above=0)


@dataclass
class StackingOptions:
    stacking: StackingConfig = group(StackingConfig)


@register_scheme("stacking")
class Stacking(BlockLearner):
    """Deep stacking (Deng and Yu 2011): each block's upper weights in closed form, its lower ones by their gradient."""

    Options = StackingOptions
    options: StackingOptions
    purpose = "stacking"
    series_name = "stacking/error"
    needs_labels = True
    helps: ClassVar[str] = "another optimizer.lr or scheme.stacking.penalty, or a larger data.batch_size"
    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "stacking/error": "the squared error of a block's own outputs",
    }
    refuses: ClassVar[Mapping[str, str]] = AllBut("mlp", NO_TARGETS_INSIDE)

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}  # of each block, its input and targets

    @classmethod
    def why_no_compile(cls, config: Config) -> str | None:
        return "it runs the two layers of a block apart, and no forward pass of it"

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        return rows * math.prod(spec.in_shape)

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        for i in cls.taught(blocks, specs):
            if not isinstance(blocks[i], StackedModule):
                return (
                    f"cannot train block {i} ({type(blocks[i]).__name__}) of {config.model['name']}: "
                    f"{NO_TARGETS_INSIDE}"
                )
        shape = task.context_shape(specs[0].example)
        if shape != (specs[0].example.n_outputs,) or task.learns_input:
            return f"cannot train {config.model['name']} on {config.data.name}: its targets are no classes or values"
        if config.parallel.replicas > 1:
            raise ConfigError(
                f"parallel.replicas: {config.parallel.replicas}, but stacking fits U to the whole of a minibatch; set 1"
            )
        return None

    def learn_block(self, i: int, block: nn.Module, t: int, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(block, StackedModule)
        z = h_in.flatten(1)
        targets = self.task.context(batch, self.spec.example, z)
        self._seen[i] = z, targets
        h = block.lower(z)
        block.fit(h, targets, self.options.stacking.penalty)
        y = nn.functional.linear(h, block.upper.weight.detach(), block.upper.bias.detach())
        error = (y - targets).square().sum(1).mean()
        error.backward()
        return block.passed_on(z, y.detach()), error.detach()

    def update_beside(self, i: int) -> None:
        """The upper weights for the lower ones as they are now."""
        block = self.chain[i]
        assert isinstance(block, StackedModule)
        z, targets = self._seen.pop(i)
        with torch.no_grad():
            block.fit(block.lower(z), targets, self.options.stacking.penalty)
