"""What a module is: which blocks of its net, with which shapes."""

from __future__ import annotations

from dataclasses import dataclass

from unlocked_models.contract.batch import Example


@dataclass(frozen=True)
class Turns:
    """Which blocks of a net learn, and when, while it is pre-trained: one after the other, or all at once."""

    blocks: tuple[int, ...]
    steps: int | None = None  # of each block's turn; None: all at once

    def learning(self, t: int) -> tuple[int, ...]:
        """Blocks that learn at minibatch t."""
        if self.steps is None:
            return self.blocks
        return (self.blocks[min(t // self.steps, len(self.blocks) - 1)],)


@dataclass(frozen=True)
class ModuleSpec:
    """Module `index` of `modules`: blocks `start..stop-1` of a chain of `n_blocks`."""

    index: int
    modules: int
    start: int
    stop: int
    n_blocks: int
    in_shape: tuple[int, ...]  # of one example of the module's own input, without the batch axis
    out_shape: tuple[int, ...]
    example: Example  # of the data
    error_shape: tuple[int, ...] | None = None  # of what the last module sends to all others; None: of its output
    block_shapes: tuple[tuple[int, ...], ...] = ()  # of the outputs of its blocks
    turns: Turns | None = None  # of a segment that pre-trains the net; None: a run's own training
    apart: bool = False  # positions of its output are not those of the targets: it ends inside an encoder

    @property
    def n_outputs(self) -> int:
        return self.example.n_outputs

    @property
    def block_io(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Shapes of input and output of each of its blocks."""
        return list(zip((self.in_shape, *self.block_shapes), self.block_shapes, strict=False))

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def is_last(self) -> bool:
        return self.index == self.modules - 1
