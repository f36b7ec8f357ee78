"""VGG (Simonyan and Zisserman 2014, arXiv 1409.1556): 3x3 convolutions in five stages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import convolution, initialised, scaled
from unlocked_models.mlp import fully_connected

# Layers per stage, configurations A, B, D and E of table 1.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


@register_model("vgg", family="cnn")
def vgg(
    in_shape: tuple[int, ...],
    n_outputs: int,
    depth: int = 16,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.5,
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """VGG for images around 224 x 224 (Simonyan and Zisserman 2014): linear 4096 and 4096 before the head.

    Shapes: `(batch, channels, height, width)` of at least 32 x 32 to `(batch, n_outputs)`. `depth` blocks,
    one per layer with weights; five 2x2 max pools leave 7 x 7 of 224 x 224.

    Options: `depth` 11, 13, 16 or 19; `width` multiplies all layers; `activation`, `init` as for mlp;
    `norm` none, batch, layer, group or instance, in the convolutional layers; `dropout` in [0, 1), after both hidden
    linear layers.
    """
    channels, height, columns = checks.image("vgg", in_shape, least=32)
    checks.outputs("vgg", n_outputs)
    checks.positive("width", width)

    features = (scaled(CHANNELS[-1], width), (height + 31) // 32, (columns + 31) // 32)
    hidden = [scaled(4096, width)] * 2
    blocks = chain(
        _stages(channels, depth, width, activation, norm),
        fully_connected(features, hidden, n_outputs, activation, dropout=dropout),
    )
    yield from initialised(blocks, depth, init, activation)


@register_model("vgg_small", family="cnn")
def vgg_small(
    in_shape: tuple[int, ...],
    n_outputs: int,
    depth: int = 11,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "batch",
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """VGG for small images (8 x 8 to about 64 x 64): batch norm, one linear layer, as is usual for CIFAR.

    Shapes: `(batch, channels, height, width)` to `(batch, n_outputs)`. `depth - 2` blocks, one per layer
    with weights; the pools round up, so five of them leave 1 x 1 of 28 x 28 and of 32 x 32.

    Options: as for vgg, without dropout.
    """
    channels, height, columns = checks.image("vgg_small", in_shape, least=8)
    checks.outputs("vgg_small", n_outputs)
    checks.positive("width", width)

    features = (scaled(CHANNELS[-1], width), (height + 31) // 32, (columns + 31) // 32)
    blocks = chain(
        _stages(channels, depth, width, activation, norm), fully_connected(features, [], n_outputs, activation)
    )
    yield from initialised(blocks, depth - 2, init, activation)


def _stages(n_in: int, depth: int, width: float, activation: str, norm: str) -> Iterator[nn.Module]:
    checks.one_of("depth", depth, list(STAGES))
    for layers, maps in zip(STAGES[depth], CHANNELS, strict=True):
        n_out = scaled(maps, width)
        for layer in range(layers):
            # Rounding up changes nothing for 224 x 224, and lets 28 x 28 through five pools.
            pool = nn.MaxPool2d(2, ceil_mode=True) if layer == layers - 1 else None
            yield convolution(n_in, n_out, 3, pool, norm=norm, act=activation, padding=1)
            n_in = n_out
