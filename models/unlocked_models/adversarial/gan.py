"""Generative adversarial networks: two nets, a generator of images and a discriminator that tells them from real ones.

Goodfellow et al. 2014, arXiv:1406.2661; conditioned on the class as in Mirza & Osindero 2014, arXiv:1411.1784.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from unlocked_models.adversarial.layers import MinibatchDiscrimination, OfClass, bounded
from unlocked_models.autoencoder.plain import corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation
from unlocked_models.layers.basic import sequence, vector_norm


@register_model("gan", family="adversarial", nets=("generator", "discriminator"))
def gan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    latent: int = 16,
    generator: list[int] = [128, 128],  # noqa: B006  (read, never changed)
    discriminator: list[int] = [128, 128],  # noqa: B006
    norm: str = "batch",
    dropout: float = 0.3,
    noise: float = 0.2,
    output: str = "linear",
    conditional: bool = True,
    spectral: bool = False,
    kernels: int = 0,
) -> dict[str, Net]:
    """GAN of fully connected layers. `batch.y` is the class, which the first block of both nets sees.

    Shapes: the generator makes an image `(batch, *in_shape)` of z `(batch, latent)`: a block per hidden layer (linear,
    norm, ReLU), and one for the image. The discriminator makes a logit of "real" `(batch, 1)` of an image: a block per
    hidden layer (linear, leaky ReLU 0.2, dropout), and one for the logit.

    Options: `latent` the size of z; `generator`, `discriminator` widths of the hidden layers; `norm` none, batch or
    layer, in the generator; `dropout` in [0, 1), in the discriminator; `noise` the deviation of what is added to every
    image that the discriminator sees in training (Sonderby et al. 2017, arXiv:1610.04490); `output` linear, sigmoid or
    tanh, of the generator; `conditional` false: no net sees the class; `spectral`: every weight of the discriminator is
    divided by its largest singular value (Miyato et al. 2018); `kernels` of minibatch discrimination before the logit
    (Salimans et al. 2016), 0: none.

    >>> nets = gan((1, 8, 8), 10)
    >>> nets["generator"].in_shape, len(list(nets["generator"].blocks)), len(list(nets["discriminator"].blocks))
    ((16,), 3, 3)
    """
    checks.outputs("gan", n_outputs)
    checks.whole("latent", latent)
    checks.sizes("generator", generator, least_many=1)
    checks.sizes("discriminator", discriminator, least_many=1)
    checks.fraction("dropout", dropout)
    checks.not_negative("noise", noise)
    checks.whole("kernels", kernels, 0)
    pixels, classes = math.prod(in_shape), n_outputs if conditional else 0
    output_layers(output, in_shape)  # these two refuse now what they do not know
    vector_norm(norm, 1)

    def makes() -> Iterator[nn.Module]:
        for k, (n_in, width) in enumerate(zip([latent + classes, *generator], generator, strict=False)):
            layers = nn.Linear(n_in, width), vector_norm(norm, width), activation("relu")
            yield OfClass(classes, *layers) if k == 0 else sequence(*layers)
        yield sequence(nn.Linear(generator[-1], pixels), *output_layers(output, in_shape))

    def tells() -> Iterator[nn.Module]:
        blurred = corruption("gaussian", noise) if noise else None
        for k, (n_in, width) in enumerate(zip([pixels + classes, *discriminator], discriminator, strict=False)):
            linear, drop = bounded(nn.Linear(n_in, width), spectral), nn.Dropout(dropout) if dropout else None
            layers = linear, nn.LeakyReLU(0.2), drop
            yield OfClass(classes, *layers, before=blurred) if k == 0 else sequence(*layers)
        yield logit(discriminator[-1], kernels, spectral)

    return {"generator": Net(makes(), (latent,)), "discriminator": Net(tells(), in_shape)}


def logit(features: int, kernels: int, spectral: bool) -> nn.Module:
    """The last block of a discriminator: `(batch, features)` to `(batch, 1)`."""
    near = MinibatchDiscrimination(features, kernels) if kernels else None
    linear = bounded(nn.Linear(features + kernels, 1), spectral)
    return linear if near is None else sequence(near, linear)
