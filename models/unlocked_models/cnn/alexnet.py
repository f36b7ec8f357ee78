"""AlexNet (Krizhevsky, Sutskever and Hinton 2012; single tower: Krizhevsky 2014, arXiv 1404.5997)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import convolution, initialised, scaled
from unlocked_models.mlp import fully_connected

# Maps of the five convolutional layers, by number of towers.
CHANNELS = {1: (64, 192, 384, 256, 256), 2: (96, 256, 384, 384, 256)}
# For small images: kernel, maps, whether a pool follows.
SMALL = ((5, 64, True), (5, 192, True), (3, 384, False), (3, 256, False), (3, 256, True))


@register_model("alexnet", family="cnn")
def alexnet(
    in_shape: tuple[int, ...],
    n_outputs: int,
    towers: int = 1,
    lrn: bool = False,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.5,
    init: str = "default",
) -> Iterator[nn.Module]:
    """AlexNet for images around 224 x 224 (Krizhevsky et al. 2012): five convolutions, linear 4096 and 4096.

    One tower has the widths of Krizhevsky 2014 (61,100,840 parameters at 1000 classes), two towers those
    of the 2012 paper, where layers 2, 4 and 5 see their own tower only, as groups (60,965,224).

    Shapes: `(batch, channels, height, width)` of at least 63 x 63 to `(batch, n_outputs)`. Eight blocks,
    one per layer with weights.

    Options: `towers` 1 or 2; `lrn` local response normalisation after layers 1 and 2, as in 2012; `width`
    multiplies all layers; `activation`, `init` as for mlp; `norm` none, batch, layer, group or instance, in the
    convolutional layers; `dropout` in [0, 1), after both hidden linear layers.
    """
    channels, height, columns = checks.image("alexnet", in_shape, least=63)
    checks.outputs("alexnet", n_outputs)
    checks.positive("width", width)
    checks.one_of("towers", towers, list(CHANNELS))

    c1, c2, c3, c4, c5 = (scaled(c, width) for c in CHANNELS[towers])
    lrn1, lrn2 = (nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if lrn else None for _ in range(2))

    def conv(n_in: int, n_out: int, groups: int, *after: nn.Module | None) -> nn.Module:
        return convolution(n_in, n_out, 3, *after, norm=norm, act=activation, padding=1, groups=groups)

    features = (c5, _side(height), _side(columns))  # 224: 6 x 6
    above = fully_connected(features, [scaled(4096, width)] * 2, n_outputs, activation, dropout=dropout)

    def layers() -> Iterator[nn.Module]:
        yield convolution(channels, c1, 11, lrn1, _pool(), norm=norm, act=activation, stride=4, padding=2)
        yield convolution(c1, c2, 5, lrn2, _pool(), norm=norm, act=activation, padding=2, groups=towers)
        yield conv(c2, c3, 1)
        yield conv(c3, c4, towers)
        yield conv(c4, c5, towers, _pool())
        yield from above

    yield from initialised(layers(), 8, init, activation)


@register_model("alexnet_small", family="cnn")
def alexnet_small(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "batch",
    hidden: list[int] = [1024, 1024],  # noqa: B006  (read, never changed)
    dropout: float = 0.5,
    init: str = "default",
) -> Iterator[nn.Module]:
    """AlexNet for small images (8 x 8 to about 64 x 64): its layers, with a 5x5 first kernel of stride 1.

    Each of the three 3x3 pools halves the resolution, rounding up: 32 pixels a side end as 4, 28 as 4.

    Shapes: `(batch, channels, height, width)` to `(batch, n_outputs)`. A block per layer with weights.

    Options: `width` multiplies the maps of all convolutions; `hidden` widths of the linear layers before
    the head; the others as for alexnet.
    """
    channels, height, columns = checks.image("alexnet_small", in_shape, least=8)
    checks.outputs("alexnet_small", n_outputs)
    checks.positive("width", width)

    features = (scaled(SMALL[-1][1], width), (height + 7) // 8, (columns + 7) // 8)
    above = fully_connected(features, hidden, n_outputs, activation, dropout=dropout)

    def layers() -> Iterator[nn.Module]:
        n_in = channels
        for kernel, maps, halve in SMALL:
            n_out = scaled(maps, width)
            pool = nn.MaxPool2d(3, stride=2, padding=1) if halve else None
            yield convolution(n_in, n_out, kernel, pool, norm=norm, act=activation, padding=kernel // 2)
            n_in = n_out
        yield from above

    yield from initialised(layers(), len(SMALL) + len(hidden) + 1, init, activation)


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2)


def _side(pixels: int) -> int:
    """What the first convolution (11, stride 4, padding 2) and the three pools leave of a side."""
    side = (pixels + 4 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side
