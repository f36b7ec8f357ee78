"""What a module is: which blocks of its net, with which shapes."""

from __future__ import annotations

from dataclasses import dataclass

from unlocked_models.contract.batch import Example


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
    apart: bool = False  # positions of its output are not those of the targets: it ends inside an encoder

    @property
    def n_outputs(self) -> int:
        return self.example.n_outputs

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def is_last(self) -> bool:
        return self.index == self.modules - 1
