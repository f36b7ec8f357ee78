"""Convolutional network with one block per layer: the workbench among the image models."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import POOLS, convolution, initialised
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
) -> Iterator[nn.Module]:
    """Convolutional network: convolution, norm, activation and 2x2 pool per layer, then linear layers.

    Shapes: `(batch, channels, height, width)` to `(batch, n_outputs)`; convolutions keep the resolution,
    each pool halves it, so images need 2^len(channels) pixels a side. One block per convolutional layer,
    one per linear layer, the head last.

    Options: `channels` maps of the convolutional layers; `kernel` odd; `activation` as for mlp; `norm`
    none, batch or layer, in the convolutional layers; `pool` max, avg or none; `hidden` widths of the
    linear layers before the head, `dropout` in [0, 1) after each; `init` as for mlp.

    >>> len(cnn((1, 8, 8), 10))
    4
    """
    checks.sizes("channels", channels, least_many=1)
    checks.odd("kernel", kernel)
    pooling = checks.pick({**POOLS, "none": None}, "pool", pool)
    shrink = 1 if pooling is None else 2 ** len(channels)
    n_in, height, width = checks.image("cnn", in_shape, least=1)
    if pooling is not None:
        checks.halvings("channels", len(channels), height, width, "give fewer layers, or model.pool: none")
    checks.outputs("cnn", n_outputs)

    features = (channels[-1], height // shrink, width // shrink)
    above = fully_connected(features, hidden, n_outputs, activation, dropout=dropout)

    def blocks() -> Iterator[nn.Module]:
        for below, n_out in pairwise([n_in, *channels]):
            halve = None if pooling is None else pooling(2)
            yield convolution(below, n_out, kernel, halve, norm=norm, act=activation, padding=kernel // 2)
        yield from above

    yield from initialised(blocks(), len(channels) + len(hidden) + 1, init, activation)
