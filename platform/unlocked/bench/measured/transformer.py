"""A chain in the shape of a Transformer encoder, for measuring speed: vectors in, attention blocks, a class out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlocked_models.contract.registry import register_model


@register_model("bench_transformer", family="transformer")
def bench_transformer(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 256, blocks: int = 4, heads: int = 4
) -> list[nn.Module]:
    """Pre-norm encoder layers (Vaswani et al. 2017; Xiong et al. 2020) with a feed-forward of 4 `width`.

    Shapes: `(batch, positions, features)` to `(batch, n_outputs)`.
    """
    positions, features = in_shape
    layers = [
        nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(blocks)
    ]
    return [
        _Embedding(positions, features, width),
        *layers,
        nn.Sequential(nn.LayerNorm(width), _MeanOverPositions(), nn.Linear(width, n_outputs)),
    ]


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
