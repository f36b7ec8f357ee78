"""Transformer encoders that read a sequence, or the patches of an image, and give one output."""

from __future__ import annotations

from torch import nn

from unlocked_models import checks
from unlocked_models.registry import register_model
from unlocked_models.sequences import AsSequence, Patches, Pool, Positions, steps_of


@register_model("transformer", family="transformer")
def transformer(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feedforward: int = 4,
    norm: str = "pre",
    positions: str = "learned",
    activation: str = "gelu",
    dropout: float = 0.0,
    pool: str = "mean",
) -> list[nn.Module]:
    """Encoder of attention layers (Vaswani et al. 2017), on `torch.nn.TransformerEncoderLayer`.

    Shapes: `(batch, positions, features)`, a series `(batch, positions)` or an image, read row by row, to
    `(batch, n_outputs)`. One block for the embedding, one per layer, one for the head.

    Options: `width` of a position; `depth` layers; `heads` that share the width; `feedforward` the inner layer's width
    over `width`; `norm` pre (Xiong et al. 2020) or post (the original); `positions` learned, sinusoidal or none;
    `activation` relu or gelu; `dropout` in [0, 1); `pool` mean, last or max over the positions.

    >>> len(transformer((40,), 10, depth=3))
    5
    """
    count, features = steps_of(in_shape)
    return _encoder("transformer", AsSequence(), count, features, n_outputs, width, depth, heads, feedforward, norm,
                    positions, activation, dropout, pool)


@register_model("vit", family="transformer")
def vit(
    in_shape: tuple[int, ...],
    n_outputs: int,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    feedforward: int = 4,
    dropout: float = 0.0,
    pool: str = "mean",
) -> list[nn.Module]:
    """Vision Transformer (Dosovitskiy et al. 2021): pre-norm layers over patches, with the mean in the place of a class
    token (their appendix D.3).

    Shapes: images `(batch, channels, height, width)`, sides divisible by `patch`, to `(batch, n_outputs)`.

    Options: `patch` pixels a side of a patch; the others as `transformer`.
    """
    checks.whole("patch", patch)
    channels, rows, columns = checks.image("vit", in_shape, patch)
    if rows % patch or columns % patch:
        raise ValueError(f"model.patch: {patch} does not divide images of {rows} x {columns} pixels")
    count = (rows // patch) * (columns // patch)
    return _encoder("vit", Patches(patch), count, channels * patch * patch, n_outputs, width, depth, heads, feedforward,
                    "pre", "learned", "gelu", dropout, pool)


def _encoder(name: str, read: nn.Module, count: int, features: int, n_outputs: int, width: int, depth: int, heads: int,
             feedforward: int, norm: str, positions: str, activation: str, dropout: float, pool: str
             ) -> list[nn.Module]:
    checks.outputs(name, n_outputs)
    for key, value in (("width", width), ("depth", depth), ("heads", heads), ("feedforward", feedforward)):
        checks.whole(key, value)
    if width % heads:
        raise ValueError(f"model.heads: {heads} do not divide a width of {width}")
    checks.fraction("dropout", dropout)
    first = checks.pick({"pre": True, "post": False}, "norm", norm)
    act = checks.pick({"relu": "relu", "gelu": "gelu"}, "activation", activation)
    layers = [nn.TransformerEncoderLayer(width, heads, feedforward * width, dropout=dropout, activation=act,
                                         batch_first=True, norm_first=first) for _ in range(depth)]
    embedding = [read, nn.Linear(features, width), Positions(positions, count, width)]
    head = [nn.LayerNorm(width) if first else None, Pool(pool), nn.Linear(width, n_outputs)]
    return [nn.Sequential(*embedding, *([nn.Dropout(dropout)] if dropout else [])), *layers,
            nn.Sequential(*[layer for layer in head if layer is not None])]
