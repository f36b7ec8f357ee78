"""Blocks whose passes in training run as compiled code: `torch.compile`, Ansel et al. 2024.

Every block is compiled by itself, at its first pass, so that schemes may cut the chain anywhere. Compiled code draws
from torch's generators as eager code does: dropout masks are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

BACKEND = "inductor"  # torch's own; tests take one that needs no compiler
_FORMS = 8  # of one block: its inputs' shapes, with gradients or without

Call = Callable[..., Any]


def compiled_calls(blocks: Sequence[nn.Module]) -> list[Call]:
    """What takes the place of each block's `__call__`. Nothing is compiled yet."""
    from torch import _dynamo  # a second, which only this needs

    limit = _FORMS * (len(blocks) + 1)  # all blocks share one; past it they would silently run as they are
    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, limit)
    options: dict[str, Any] = {"fallback_random": True} if BACKEND == "inductor" else {}
    return [torch.compile(_call_of(block), backend=BACKEND, options=options) for block in blocks]


def _call_of(block: nn.Module) -> Call:
    """A frame outside torch, which leaves its own layers as they are: `nn.Sequential.compile` has no effect."""

    def call(*given: Any) -> Any:
        return block._call_impl(*given)

    return call
