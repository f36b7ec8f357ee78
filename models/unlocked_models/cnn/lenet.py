"""LeNet-5 (LeCun et al. 1998, Gradient-based learning applied to document recognition)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import convolution, initialised
from unlocked_models.layers.pooling import POOLS
from unlocked_models.mlp import fully_connected


@register_model("lenet5", family="cnn")
def lenet5(
    in_shape: tuple[int, ...],
    n_outputs: int,
    activation: str = "tanh",
    norm: str = "none",
    pool: str = "avg",
    dropout: float = 0.0,
    init: str = "default",
) -> Iterator[nn.Module]:
    """LeNet-5 (LeCun et al. 1998): conv 5x5-6, pool, conv 5x5-16, pool, linear 120, 84 and the head.

    As commonly adapted: plain tanh and average pooling, every map of the second convolution connected to
    all six below it, a linear head in place of the radial basis functions.

    Shapes: `(batch, channels, height, width)` of at least 12 x 12 to `(batch, n_outputs)`. Images under 32
    pixels a side are padded by 2, as MNIST's 28 x 28 were in the paper. Five blocks: two convolutional
    stages, two linear layers, the head.

    Options: `activation` as for mlp; `norm` none, batch, layer or group, in all layers; `pool` avg, max, l2 or k_max;
    `dropout` in [0, 1), after the linear layers 120 and 84; `init` as for mlp.
    """
    channels, height, width = checks.image("lenet5", in_shape, least=12)
    checks.outputs("lenet5", n_outputs)
    pooling = checks.pick(POOLS, "pool", pool)

    padding = 2 if min(height, width) < 32 else 0
    rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))  # 28 or 32: 5
    above = fully_connected((16, rows, columns), [120, 84], n_outputs, activation, norm, dropout)

    def blocks() -> Iterator[nn.Module]:
        yield convolution(channels, 6, 5, pooling(2), norm=norm, act=activation, padding=padding)
        yield convolution(6, 16, 5, pooling(2), norm=norm, act=activation)
        yield from above

    yield from initialised(blocks(), 5, init, activation)
