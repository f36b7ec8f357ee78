"""The chain contract: a model is an ordered list of blocks; only `h` passes from one to the next.

A block is any `nn.Module` called as `block(h)`, or as `block(h, batch)` when its `forward` names a second
argument; `batch` is what every worker holds locally (`batch.x`, `batch.y`). A block may add terms of its
own to the loss by a method `local_loss(h, batch) -> scalar tensor`, given its own output `h` in the graph:
an auxiliary classifier, a penalty. Those terms never leave the module that holds the block.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlocked_models.registry import MODELS


@dataclass
class Batch:
    """One minibatch as a worker sees it: inputs `x (batch, *in_shape)` if held, targets `y (batch, ...)`."""

    x: Tensor | None
    y: Tensor


def build(name: str, in_shape: tuple[int, ...], n_outputs: int, **options: Any) -> list[nn.Module]:
    """The blocks of the registered model `name`, freshly initialised from torch's global generator."""
    return as_blocks(MODELS.get(name)(in_shape, n_outputs, **options))


def as_blocks(model: Any) -> list[nn.Module]:
    """Blocks of an `nn.Sequential` or of a list of modules; any other module is a chain of one block.

    A subclass of `nn.Sequential` with a `forward` of its own is one block: taken apart it would compute
    something else.
    """
    if isinstance(model, nn.Sequential):
        in_order = type(model).forward in (nn.Sequential.forward, Chain.forward)
    else:
        in_order = isinstance(model, nn.ModuleList)
        in_order |= isinstance(model, Iterable) and not isinstance(model, nn.Module)
    blocks: list[Any] = list(model) if in_order else [model]
    if not blocks or not all(isinstance(block, nn.Module) for block in blocks):
        given = ", ".join(sorted({type(block).__name__ for block in blocks})) or "nothing"
        raise TypeError(f"a model gives an nn.Sequential or a list of nn.Module blocks, not {given}")
    return blocks


def takes_batch(block: nn.Module) -> bool:
    """Whether `block.forward` wants the batch: its second positional argument has no default, or is `batch`.

    An optional second argument of another name (`mask=None` of many torch layers) is left alone.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = [p for p in inspect.signature(block.forward).parameters.values() if p.kind in kinds]
    if len(arguments) < 2:
        return False
    return arguments[1].default is inspect.Parameter.empty or arguments[1].name == "batch"


class Chain(nn.Sequential):
    """Blocks in order, called as one network: the plain model that is evaluated and saved.

    `state_dict()` has the keys of `nn.Sequential(*blocks)`, so saved weights load without this package.
    """

    def __init__(self, blocks: Iterable[nn.Module] | OrderedDict[str, nn.Module]):
        if isinstance(blocks, OrderedDict):  # what slicing an nn.Sequential gives
            super().__init__(blocks)
        else:
            super().__init__(*blocks)
        self._with_batch = [takes_batch(block) for block in self]
        self._any_with_batch = any(self._with_batch)

    def forward(self, h: Tensor, batch: Batch | None = None,  # type: ignore[override]
                after: Callable[[int, Tensor], Tensor] | None = None) -> Tensor:
        """Output of the last block. `after(i, h)` sees the output of block i and gives what passes on."""
        if after is None and not self._any_with_batch:  # most models, once per training step
            for block in self._modules.values():
                h = block(h)  # type: ignore[misc]
            return h
        for i, (block, with_batch) in enumerate(zip(self._modules.values(), self._with_batch, strict=True)):
            h = block(h, batch) if with_batch else block(h)  # type: ignore[misc]
            if after is not None:
                h = after(i, h)
        return h

    def has_local_loss(self) -> bool:
        return any(hasattr(block, "local_loss") for block in self)


def output_shapes(blocks: Iterable[nn.Module], in_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shape of each block's output for one example, without the batch axis; runs on a copy-free dry pass.

    The pass takes two examples of zeros, in evaluation mode (running statistics stay as they are), without
    grad, on the device and in the dtype of the first parameter: on "meta" it costs nothing.
    """
    blocks = list(blocks)
    like = next((p for block in blocks for p in block.parameters()), torch.empty(0))
    shapes = []
    with torch.no_grad():
        h: Tensor = torch.zeros(2, *in_shape, device=like.device, dtype=like.dtype)
        batch = Batch(x=h, y=torch.zeros(2, dtype=torch.long, device=like.device))
        for block in blocks:
            was_training = [(m, m.training) for m in block.modules()]
            block.eval()
            h = block(h, batch) if takes_batch(block) else block(h)
            for m, training in was_training:
                m.training = training
            shapes.append(tuple(h.shape[1:]))
    return shapes
