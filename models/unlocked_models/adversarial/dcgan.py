"""Deep convolutional GAN (Radford, Metz & Chintala 2016, arXiv:1511.06434), for images of any even size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from unlocked_models.adversarial.gan import logit
from unlocked_models.adversarial.layers import MapsOfClass, OfClass, bounded
from unlocked_models.autoencoder.plain import corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import image_norm, sequence

LEAST = 4  # pixels a side of the smallest maps


@register_model("dcgan", family="adversarial", nets=("generator", "discriminator"))
def dcgan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    latent: int = 16,
    channels: int = 16,
    norm: str = "batch",
    dropout: float = 0.3,
    noise: float = 0.1,
    output: str = "linear",
    conditional: bool = True,
    spectral: bool = False,
    kernels: int = 0,
) -> dict[str, Net]:
    """Convolutional GAN. `batch.y` is the class, which the first block of both nets sees.

    Shapes: z `(batch, latent)` becomes maps of at least 4 x 4 pixels (linear, norm, ReLU); each further block doubles
    them and halves the channels down to `channels` (transposed convolution of 4 x 4, norm, ReLU); the last one is a
    convolution of 3 x 3 to the image. The discriminator begins with a convolution of 3 x 3, halves the maps as often
    (4 x 4, stride 2; leaky ReLU 0.2, dropout), and ends with a linear layer to the logit `(batch, 1)`.

    Options: as of `gan`; `norm` none, batch or layer, in the generator alone.

    Differs from the paper: the convolutions of 3 x 3, and a discriminator without batch norm.

    >>> nets = dcgan((1, 28, 28), 10)
    >>> len(list(nets["generator"].blocks)), len(list(nets["discriminator"].blocks))
    (4, 4)
    """
    checks.outputs("dcgan", n_outputs)
    checks.whole("latent", latent)
    checks.whole("channels", channels)
    checks.fraction("dropout", dropout)
    checks.not_negative("noise", noise)
    checks.whole("kernels", kernels, 0)
    (maps, height, width), classes = checks.image("dcgan", in_shape, 2 * LEAST), n_outputs if conditional else 0
    doublings = doublings_to("dcgan", height, width)
    output_layers(output, in_shape)  # these two refuse now what they do not know
    image_norm(norm, 1)
    widths = [channels * 2**k for k in reversed(range(doublings + 1))]
    first = (widths[0], height >> doublings, width >> doublings)
    pixels = first[1] * first[2]

    def makes() -> Iterator[nn.Module]:
        linear = nn.Linear(latent + classes, widths[0] * pixels)
        yield OfClass(classes, linear, nn.Unflatten(1, first), image_norm(norm, widths[0]), nn.ReLU())
        for n_in, n_out in pairwise(widths):
            yield sequence(nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), image_norm(norm, n_out), nn.ReLU())
        squash, *_ = output_layers(output, in_shape)
        yield sequence(nn.Conv2d(channels, maps, 3, padding=1), squash)

    def tells() -> Iterator[nn.Module]:
        blurred = corruption("gaussian", noise) if noise else None
        conv = bounded(nn.Conv2d(maps + classes, channels, 3, padding=1), spectral)
        yield MapsOfClass(classes, conv, nn.LeakyReLU(0.2), before=blurred)
        for n_out, n_in in zip(widths[-2::-1], widths[:0:-1], strict=True):
            drop = nn.Dropout(dropout) if dropout else None
            yield sequence(bounded(nn.Conv2d(n_in, n_out, 4, 2, 1), spectral), nn.LeakyReLU(0.2), drop)
        yield sequence(nn.Flatten(), logit(widths[0] * pixels, kernels, spectral))

    return {"generator": Net(makes(), (latent,)), "discriminator": Net(tells(), in_shape)}


def doublings_to(model: str, height: int, width: int) -> int:
    """How often maps of at least 4 x 4 pixels are doubled to an image of this size. `ValueError` if they never are."""
    found = 0
    while height % 2 ** (found + 1) == width % 2 ** (found + 1) == 0 and min(height, width) >= LEAST * 2 ** (found + 1):
        found += 1
    if not found:
        near = [max(2 * LEAST, 2 * ((side + 1) // 2)) for side in (height, width)]
        raise ValueError(
            f"model.name: {model} doubles maps of at least {LEAST} x {LEAST} pixels until they are the image, which "
            f"never gives {height} x {width}; pad the images to {near[0]} x {near[1]}, say"
        )
    return found
