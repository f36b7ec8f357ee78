"""Convolutional autoencoder: convolutions, pools, a code, transposed convolutions back (Masci et al. 2011)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from unlocked_models.autoencoder.plain import Layer, corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import convolution, image_norm
from unlocked_models.layers.pooling import POOLS


@register_model("conv_autoencoder", family="autoencoder")
def conv_autoencoder(
    in_shape: tuple[int, ...],
    n_outputs: int,
    channels: list[int] = [16, 32],  # noqa: B006  (read, never changed)
    kernel: int = 3,
    code: int = 16,
    activation: str = "relu",
    norm: str = "batch",
    pool: str = "max",
    output: str = "linear",
    noise: str = "none",
    level: float = 0.3,
) -> Iterator[nn.Module]:
    """Convolutional autoencoder: the layers of `cnn`, a linear code, and transposed convolutions in mirror image.

    Shapes: `(batch, channels, height, width)` to `(batch, code)` and back; each layer of the encoder halves the
    resolution, rounding down, each of the decoder doubles it to what it was. One block per convolution, one each for
    the code and for the layer after it: 2 (len(channels) + 1) of them. The convolutions have the parameters of a `cnn`
    with the same `channels`, so a classifier can begin with them. `n_outputs` is not used: there is no label.

    Options: `channels` maps of the encoder's layers; `kernel` odd, of its convolutions (those of the decoder are 4x4 of
    stride 2, which overlap evenly: Odena et al. 2016); `code` units, or 0: the last maps are the code; `activation`,
    `norm` none, batch or layer, and `pool` max or avg as for cnn; `output` linear, sigmoid or tanh; `noise` none,
    gaussian or masking with `level`: a denoising autoencoder, as for autoencoder.

    >>> len(conv_autoencoder((1, 28, 28), 10))
    6
    """
    checks.sizes("channels", channels, least_many=1)
    checks.odd("kernel", kernel)
    checks.whole("code", code, least=0)
    pooling = checks.pick(POOLS, "pool", pool)
    n_in, height, width = checks.image("conv_autoencoder", in_shape, least=1)
    checks.halvings("channels", len(channels), height, width)

    corrupted, (squash, _) = corruption(noise, level), output_layers(output, in_shape)

    maps, sizes = [n_in, *channels], [(height, width)]
    for k, n_out in enumerate(channels):
        layer = convolution(maps[k], n_out, kernel, pooling(2), norm=norm, act=activation, padding=kernel // 2)
        last = k == len(channels) - 1
        yield Layer([corrupted if k == 0 else None, *layer], gives_code=last and code == 0)
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))

    if code:
        shape = (maps[-1], *sizes[-1])
        features = shape[0] * shape[1] * shape[2]
        yield Layer([nn.Flatten(), nn.Linear(features, code)], gives_code=True)
        yield Layer([nn.Linear(code, features), nn.Unflatten(1, shape), activation_layer(activation)])
    for k in reversed(range(len(channels))):
        missing = (sizes[k][0] % 2, sizes[k][1] % 2)  # what the pool left out
        up = nn.ConvTranspose2d(maps[k + 1], maps[k], 4, stride=2, padding=1, output_padding=missing)
        end = [squash] if k == 0 else [image_norm(norm, maps[k]), activation_layer(activation)]
        yield Layer([up, *end])
