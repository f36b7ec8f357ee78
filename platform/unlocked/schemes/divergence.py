"""Contrastive divergence: Boltzmann machines learn from samples of their own, block by block, with no feedback.

Hinton 2002, "Training Products of Experts by Minimizing Contrastive Divergence" (cd); Tieleman 2008, "Training
Restricted Boltzmann Machines using Approximations to the Likelihood Gradient" (pcd). The likelihood's gradient

    -d log p(v) / d theta = dF(v)/d theta - E[dF(v')/d theta],    v' from the model itself

holds an expectation that nobody can compute for many units. Its place takes

    cd:   v' after `steps` of Gibbs sampling that begin at the data
    pcd:  v' of chains that go on where the last minibatch left them, `steps` more; a checkpoint keeps them

Every block of a module is such a machine and learns on its own input, p(h | v) of the block below; what it draws
follows from (seed, block, step), however the net is cut. Nothing comes back, so every block may have a worker.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schema.facts import MOST, group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner
from unlocked.schemes.blockwise import BlockLearner
from unlocked.schemes.declarations import AllBut
from unlocked.schemes.registry import register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.schemes.without_error import WithoutError
from unlocked.seeding import step_seed
from unlocked.tasks import Task
from unlocked_models.boltzmann import BoltzmannBlock
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

NO_ENERGY = "it samples from a block's own energy, which only Boltzmann machines have"


@dataclass
class GibbsConfig:
    """The samples of cd and pcd."""

    steps: int = key(1, "of Gibbs sampling per update", low=1, high=MOST)


@dataclass
class CDOptions:
    gibbs: GibbsConfig = group(GibbsConfig)


@register_scheme("cd")
class CD(WithoutError, BlockLearner):
    """Contrastive divergence (Hinton 2002): Boltzmann machines learn from samples that begin at the data."""

    Options = CDOptions
    options: CDOptions
    purpose = "gibbs"
    series_name = "unit_error"
    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "unit_error": "the error of a unit given back",
    }
    refuses: ClassVar[Mapping[str, str]] = AllBut("boltzmann", NO_ENERGY)

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self._generator = torch.Generator(self.device)

    @classmethod
    def why_no_compile(cls, config: Config) -> str | None:
        return "it samples by methods of a machine, and runs no forward pass of a block"

    @classmethod
    def check(cls, config: Config) -> None:
        if config.train.precision == "bf16":
            raise ConfigError(
                "train.precision: bf16 rounds free energies to 3 digits, and what is learned from is their difference "
                "between data and samples; use fp32"
            )

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        return 0

    @classmethod
    def pretrains(cls, blocks: Sequence[nn.Module]) -> int:
        """All that have an energy, up to the first that has none."""
        return next((i for i, block in enumerate(blocks) if not isinstance(block, BoltzmannBlock)), len(blocks))

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        for i in cls.taught(blocks, specs):
            if not isinstance(blocks[i], BoltzmannBlock):
                return f"cannot train block {i} ({type(blocks[i]).__name__}) of {config.model['name']}: {NO_ENERGY}"
        return None

    def learn_block(self, i: int, block: nn.Module, t: int, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(block, BoltzmannBlock)
        self._generator.manual_seed(step_seed(self._bases[i], t))
        with torch.no_grad():
            v, above = block.visible(h_in, batch), block(h_in)
            sample = self._sample(i, block, v)
            error = (block.reconstruction(v) - v).square().mean()
        (block.data_energy(v, self._generator).mean() - block.energy(sample).mean()).backward()
        return above, error

    def _sample(self, i: int, block: BoltzmannBlock, v: Tensor) -> Tensor:
        """The state of block i's own samples, given its data."""
        return self._walk(block, block.begin(v, self._generator))

    def _walk(self, block: BoltzmannBlock, state: Tensor) -> Tensor:
        for _ in range(self.options.gibbs.steps):
            state = block.gibbs(state, self._generator)
        return state


@register_scheme("pcd")
class PCD(CD):
    """Persistent contrastive divergence (Tieleman 2008): samples go on where the last minibatch left them."""

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self.particles: deque[Tensor] = self.holds("particles", deque())  # of each block, `(batch, units)`

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        """The samples, of the first block; those above are smaller, as a rule."""
        return rows * math.prod(spec.in_shape)

    def _sample(self, i: int, block: BoltzmannBlock, v: Tensor) -> Tensor:
        if i == len(self.particles):  # at the first minibatch
            self.particles.append(block.noise(len(v), self._generator))
        self.particles[i] = self._walk(block, self.particles[i])
        return self.particles[i]
