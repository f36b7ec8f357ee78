"""A block whose activations are not kept for its backward pass but computed again: Chen et al. 2016.

"Training Deep Nets with Sublinear Memory Cost". Only what passes between blocks stays in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, *given: Any) -> Tensor:
    """The output of `block(*given)`, whose backward pass runs the block again with the same draws.

    Running statistics move once, in the first pass.
    """
    out: Tensor = checkpoint(block, *given, use_reentrant=False, context_fn=partial(_contexts, block))
    return out


def _contexts(block: nn.Module) -> tuple[Any, Any]:
    """Around the first pass, and around the one in the backward pass."""
    return contextlib.nullcontext(), _copied_buffers(block)


@contextlib.contextmanager
def _copied_buffers(block: nn.Module) -> Iterator[None]:
    """Buffers are changed in copies, which are thrown away."""
    own = [(layer, layer._buffers) for layer in block.modules() if layer._buffers]
    for layer, buffers in own:
        layer._buffers = {name: None if b is None else b.clone() for name, b in buffers.items()}
    try:
        yield
    finally:
        for layer, buffers in own:
            layer._buffers = buffers
