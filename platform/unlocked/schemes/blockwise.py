"""Blocks that learn one by one, each from its own input, with no feedback: the base of contrastive divergence and of
denoising, and what a net can be pre-trained by.

Bengio et al. 2007, "Greedy Layer-Wise Training of Deep Networks". In a run's own training every block learns at every
minibatch. In a segment that pre-trains a net (`spec.turns`) only those whose turn it is do: the blocks below them run
in evaluation mode, those above do not run. What is drawn follows from (seed, block, step), however the net is cut.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.precision import in_short
from unlocked.schemes.spec import ModuleSpec
from unlocked.seeding import derive_seed
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import takes_batch


class BlockLearner(ModuleLearner):
    """A subclass gives `learn_block`, and of how many blocks it pre-trains by default."""

    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    why_no_fp16: ClassVar[str | None] = "every block learns from a loss of its own, and each would need a scale"
    purpose: ClassVar[str]  # of what it draws
    series_name: ClassVar[str]  # of the number that `learn_block` measures

    @classmethod
    def pretrains(cls, blocks: Sequence[nn.Module]) -> int:
        """How many blocks, from the input up, it trains before a run unless the configuration says."""
        return len(blocks)

    @classmethod
    def taught(cls, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> list[int]:
        """Places of the blocks that learn by it, of the whole net."""
        turns = specs[0].turns
        return [*(range(len(blocks)) if turns is None else turns.blocks)]

    @abstractmethod
    def learn_block(self, i: int, block: nn.Module, t: int, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Adds to the gradients of block i of the module; gives its output, clean, and a number to record."""

    def update_beside(self, i: int) -> None:
        """An optimiser step of what learns beside block i."""

    def draw_as_replica(self, replica: int) -> None:
        super().draw_as_replica(replica)
        own = ("replica", replica) if replica else ()
        places = range(self.spec.start, self.spec.stop)
        self._bases = [derive_seed(self.config.seed, self.purpose, place, *own) for place in places]

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        spec = self.spec
        learning = spec.turns.learning(t) if spec.turns is not None else range(spec.n_blocks)
        top, h, measured = learning[-1], h_in, dict[int, Tensor]()
        for i, block in enumerate(self.chain):
            place = spec.start + i
            if place > top:
                break
            if place in learning:
                h, measured[i] = self.learn_block(i, block, t, h, batch)
            else:
                h = self.clean(block, h, batch)
        if not spec.is_last:
            needed = spec.stop <= top
            ports.up(h if needed else torch.zeros(len(h_in), *spec.out_shape, dtype=self.dtype, device=self.device))
        if measured:
            self._record(measured)
            self.update()
            for i in measured:
                self.update_beside(i)

    def _record(self, measured: dict[int, Tensor]) -> None:
        """By module; of a segment that pre-trains by block, whose turns differ."""
        if self.spec.turns is None:
            self.record(self.series_name, torch.stack([*measured.values()]).mean())
            return
        for i, value in measured.items():
            self.record(f"{self.series_name}/block_{self.spec.start + i}", value)

    def clean(self, block: nn.Module, h: Tensor, batch: Batch) -> Tensor:
        """Output in evaluation mode, without graph."""
        training = block.training
        block.eval()
        with torch.no_grad():
            out = self.output(block, h, batch)
        block.train(training)
        return out

    def output(self, block: nn.Module, h: Tensor, batch: Batch) -> Tensor:
        with in_short(self._short, self.device, self.spec.index):
            out: Tensor = block(h, batch) if takes_batch(block) else block(h)
        return out if self._short is None else out.float()
