"""Attention maps: at which words of the source a decoder looked while it wrote each word of the translation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain
from unlocked_models.layers.attention import MultiHeadAttention


def attention_maps(chain: Chain, x: Tensor, y: Tensor) -> Tensor | None:
    """Weights `(n, T, S)` of sources `(n, S)` for each position of the targets `(n, T)`: those of the last layer that
    attends to the source, the mean over its heads. None if no layer does."""
    with torch.inference_mode(), _watched(chain) as seen:
        chain.eval()(x, Batch(x, y))
    if not seen:
        return None
    layers = list(dict.fromkeys(layer for layer, _ in seen))
    weights = [w for layer, w in seen if layer is layers[-1]]
    return torch.cat(weights, 1)  # a recurrent decoder attends step by step


@contextlib.contextmanager
def _watched(chain: Chain) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Collects, inside, layers and the weights `(n, t, S)` with which they look at the source."""
    seen: list[tuple[nn.Module, Tensor]] = []

    def gave(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((layer, output))

    def attended(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(layer, MultiHeadAttention)
        seen.append((layer, layer.weights(*inputs).mean(1)))

    handles = []
    for layer in chain.modules():
        if getattr(layer, "gives_weights", False):
            handles.append(layer.register_forward_hook(gave))
        elif isinstance(layer, MultiHeadAttention) and layer.cross:
            handles.append(layer.register_forward_hook(attended))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
