"""Attention maps: at which words of the source a decoder looked while it wrote each word of the translation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.data import DataSet, tokenize
from unlocked.data.text import PAD
from unlocked.generate.translate import translations
from unlocked_models.contract.chain import Batch, Chain
from unlocked_models.layers.attention import MultiHeadAttention

SENTENCES = 4  # of the test split, one map each


def attention_maps(chain: Chain, x: Tensor, y: Tensor) -> Tensor | None:
    """Weights `(n, T, S)` of sources `(n, S)` for each position of the targets `(n, T)`: those of the last layer that
    attends to the source, the mean over its heads. None where no layer does."""
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


def draw_maps(chain: Chain, data: DataSet, folder: Path) -> list[Path]:
    """One figure, `attention.png`: the maps of the first test sentences and what the network makes of them."""
    from unlocked.drawing import figures

    assert data.symbols is not None
    x = data.test.x[:SENTENCES]
    written = translations(chain, x, data)
    maps = attention_maps(chain, x, written)
    if maps is None:
        return []
    drawn = []
    for weights, source, target in zip(maps, x, written, strict=True):
        across, down = _labels(source, data.symbols, data), _labels(target, data.class_names, data)
        drawn.append((weights[: len(down), : len(across)].tolist(), across, down))
    return [figures.attention(drawn, folder / "attention.png")]


def _labels(ids: Tensor, symbols: Sequence[str], data: DataSet) -> list[str]:
    """The tokens of a sequence as they are read, </s> among them."""
    tokenizer = tokenize.from_json(data.tokenizer) if data.tokenizer else None
    tokens = [
        symbols[i] if tokenizer is None else tokenize.decode(tokenizer, [i]).strip() or symbols[i]
        for i in ids.tolist()
        if i != PAD
    ]
    return [token.replace("$", r"\$") for token in tokens]  # which would begin a formula
