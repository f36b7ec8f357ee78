"""Convolutional network with one block per layer: the workbench among the image models."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import convolution, initialised
from unlocked_models.layers.pooling import POOLS, padding_of
from unlocked_models.mlp import fully_connected


@register_model("cnn", family="cnn")
def cnn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    channels: list[int] = [32, 64],  # noqa: B006  (read, never changed)
    kernel: int = 3,
    activation: str = "relu",
    norm: str = "batch",
    pool: str = "max",
    hidden: list[int] = [128],  # noqa: B006  (read, never changed)
    dropout: float = 0.0,
    init: str = "default",
    padding: str = "same",
    dropout_maps: float = 0.0,
) -> Iterator[nn.Module]:
    """Convolutional network: convolution, norm, activation and 2x2 pool per layer, then linear layers.

    Shapes: `(batch, channels, height, width)` to `(batch, n_outputs)`; convolutions keep the resolution,
    each pool halves it, so images need 2^len(channels) pixels a side. One block per convolutional layer,
    one per linear layer, the head last.

    Options: `channels` maps of the convolutional layers; `kernel` odd; `activation` as for mlp; `norm` none, batch,
    layer, group or instance, in the convolutional layers; `pool` max, avg, l2, k_max (the mean of the two largest),
    strided (convolutions of stride 2 in its place), global (the mean of every map, after the last one alone) or none;
    `hidden` widths of the linear layers before the head, `dropout` in [0, 1) after each; `init` as for mlp; `padding`
    same, valid (none) or full (kernel - 1); `dropout_maps` in [0, 1), of whole maps, after each convolutional layer
    (Tompson et al. 2015, arXiv:1411.4280).

    >>> len(cnn((1, 8, 8), 10))
    4
    """
    checks.sizes("channels", channels, least_many=1)
    checks.odd("kernel", kernel)
    pooling = checks.pick({**POOLS, "none": None, "strided": None, "global": None}, "pool", pool)
    zeros, stride = padding_of(padding, kernel), 2 if pool == "strided" else 1
    checks.fraction("dropout_maps", dropout_maps)
    n_in, height, width = checks.image("cnn", in_shape, least=1)
    if pooling is not None and padding == "same":
        checks.halvings("channels", len(channels), height, width, "give fewer layers, or model.pool: none")
    for k in range(len(channels)):
        sides = [(side + 2 * zeros - kernel) // stride + 1 for side in (height, width)]
        height, width = sides if pooling is None else (side // 2 for side in sides)
        if min(height, width) < 1:
            raise ValueError(
                f"model.padding: {padding} leaves no pixel after layer {k + 1} of {len(channels)}, of images of "
                f"{in_shape[1]} x {in_shape[2]}; give fewer layers, or same"
            )
    if pool == "global":
        height = width = 1
    checks.outputs("cnn", n_outputs)

    features = (channels[-1], height, width)
    above = fully_connected(features, hidden, n_outputs, activation, dropout=dropout)

    def blocks() -> Iterator[nn.Module]:
        for k, (below, n_out) in enumerate(pairwise([n_in, *channels]), 1):
            halve = None if pooling is None else pooling(2)
            drop = nn.Dropout2d(dropout_maps) if dropout_maps else None
            if pool == "global" and k == len(channels):
                halve = nn.AdaptiveAvgPool2d(1)
            yield convolution(
                below, n_out, kernel, halve, drop, norm=norm, act=activation, stride=stride, padding=zeros
            )
        yield from above

    yield from initialised(blocks(), len(channels) + len(hidden) + 1, init, activation)
