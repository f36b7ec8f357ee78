"""The chain contract: a model is an ordered list of blocks; only `h` passes from one to the next.

A block is any `nn.Module` called as `block(h)`, or as `block(h, batch)` when its `forward` names a second
argument; `batch` is what every worker holds locally (`batch.x`, `batch.y`). A block may add terms of its
own to the loss by a method `local_loss(h, batch) -> scalar tensor`, given its own output `h` in the graph:
an auxiliary classifier, a penalty. Those terms never leave the module that holds the block.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlocked_models.registry import MODELS


@dataclass
class Batch:
    """One minibatch as a worker sees it: inputs `x (batch, *in_shape)` where held, targets `y (batch, ...)`."""

    x: Tensor | None
    y: Tensor


def build(name: str, in_shape: tuple[int, ...], n_outputs: int, **options: Any) -> list[nn.Module]:
    """The blocks of the registered model `name`, freshly initialised from torch's global generator."""
    return as_blocks(MODELS.get(name)(in_shape, n_outputs, **options))


def as_blocks(model: Any) -> list[nn.Module]:
    """Blocks of an `nn.Sequential` or of a list of modules; any other module is a chain of one block."""
    if isinstance(model, (nn.Sequential, nn.ModuleList)) or (
        isinstance(model, Iterable) and not isinstance(model, nn.Module)
    ):
        blocks = list(model)
    else:
        blocks = [model]
    if not blocks or not all(isinstance(block, nn.Module) for block in blocks):
        raise TypeError(f"a model gives an nn.Sequential or a list of nn.Module blocks, not {type(model).__name__}")
    return blocks


def takes_batch(block: nn.Module) -> bool:
    """Whether `block.forward` names a second positional argument, the batch."""
    if isinstance(block, nn.Sequential):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in inspect.signature(block.forward).parameters.values()
                if p.kind in kinds and p.default is inspect.Parameter.empty]
    return len(required) >= 2


class Chain(nn.Sequential):
    """Blocks in order, called as one network: the plain model that is evaluated and saved.

    `state_dict()` has the keys of `nn.Sequential(*blocks)`, so saved weights load without this package.
    """

    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__(*blocks)
        self._calls: list[tuple[Callable[..., Any], bool]] = [(block, takes_batch(block)) for block in self]

    def forward(self, h: Tensor, batch: Batch | None = None) -> Tensor:  # type: ignore[override]
        for block, with_batch in self._calls:
            h = block(h, batch) if with_batch else block(h)
        return h

    def has_local_loss(self) -> bool:
        return any(hasattr(block, "local_loss") for block in self)


def output_shapes(blocks: Iterable[nn.Module], in_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shape of each block's output for one example, without the batch axis; runs on a copy-free dry pass.

    Batch norm needs two examples in training mode, so the pass uses two, in evaluation mode, without grad.
    """
    shapes = []
    with torch.no_grad():
        h: Tensor = torch.zeros(2, *in_shape)
        batch = Batch(x=h, y=torch.zeros(2, dtype=torch.long))
        for block in blocks:
            was_training = block.training
            block.eval()
            h = block(h, batch) if takes_batch(block) else block(h)
            block.train(was_training)
            shapes.append(tuple(h.shape[1:]))
    return shapes
