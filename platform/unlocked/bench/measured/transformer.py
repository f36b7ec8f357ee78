"""A chain in the shape of a Transformer encoder, for measuring speed: vectors in, attention blocks, a class out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.attention import check_heads


@register_model("bench_transformer", family="transformer")
def bench_transformer(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 256, blocks: int = 4, heads: int = 4
) -> Iterator[nn.Module]:
    """Pre-norm encoder layers (Vaswani et al. 2017; Xiong et al. 2020) with a feed-forward of 4 `width`.

    Shapes: `(batch, positions, features)` to `(batch, n_outputs)`.
    """
    for key, value in (("width", width), ("blocks", blocks), ("heads", heads)):
        checks.whole(key, value)
    check_heads(width, heads, rotary=False)
    positions, features = in_shape
    yield _Embedding(positions, features, width)
    for _ in range(blocks):
        yield nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
    yield nn.Sequential(nn.LayerNorm(width), _MeanOverPositions(), nn.Linear(width, n_outputs))


class _Embedding(nn.Module):
    def __init__(self, positions: int, features: int, width: int):
        super().__init__()
        self.features = nn.Linear(features, width)
        self.position = nn.Parameter(0.02 * torch.randn(positions, width))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.features(h) + self.position
        return out


class _MeanOverPositions(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h.mean(1)
