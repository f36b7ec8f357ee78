"""Generative adversarial networks: two nets, a generator of images and a discriminator that tells them from real ones.

Goodfellow et al. 2014, arXiv:1406.2661; conditioned on the class as in Mirza & Osindero 2014, arXiv:1411.1784.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.autoencoder.plain import corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import activation, sequence, vector_norm


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
) -> dict[str, Net]:
    """Conditional GAN of fully connected layers. `batch.y` is the class, which the first block of both nets sees.

    Shapes: the generator makes an image `(batch, *in_shape)` of z `(batch, latent)`: a block per hidden layer (linear,
    norm, ReLU), and one for the image. The discriminator makes a logit of "real" `(batch, 1)` of an image: a block per
    hidden layer (linear, leaky ReLU 0.2, dropout), and one for the logit.

    Options: `latent` the size of z; `generator`, `discriminator` widths of the hidden layers; `norm` none, batch or
    layer, in the generator; `dropout` in [0, 1), in the discriminator; `noise` the deviation of what is added to every
    image that the discriminator sees in training (Sonderby et al. 2017, arXiv:1610.04490); `output` linear, sigmoid or
    tanh, of the generator.

    >>> nets = gan((1, 8, 8), 10)
    >>> nets["generator"].in_shape, len(nets["generator"].blocks), len(nets["discriminator"].blocks)
    ((16,), 3, 3)
    """
    checks.outputs("gan", n_outputs)
    checks.whole("latent", latent)
    checks.sizes("generator", generator, least_many=1)
    checks.sizes("discriminator", discriminator, least_many=1)
    checks.fraction("dropout", dropout)
    checks.not_negative("noise", noise)
    pixels = math.prod(in_shape)
    makes: list[nn.Module] = []
    layers: tuple[nn.Module | None, ...]
    for k, (n_in, width) in enumerate(zip([latent + n_outputs, *generator], generator, strict=False)):
        layers = nn.Linear(n_in, width), vector_norm(norm, width), activation("relu")
        makes.append(OfClass(n_outputs, *layers) if k == 0 else sequence(*layers))
    makes.append(sequence(nn.Linear(generator[-1], pixels), *output_layers(output, in_shape)))
    tells: list[nn.Module] = []
    for k, (n_in, width) in enumerate(zip([pixels + n_outputs, *discriminator], discriminator, strict=False)):
        layers = nn.Linear(n_in, width), nn.LeakyReLU(0.2), nn.Dropout(dropout) if dropout else None
        blurred = corruption("gaussian", noise) if noise else None
        tells.append(OfClass(n_outputs, *layers, before=blurred) if k == 0 else sequence(*layers))
    tells.append(nn.Linear(discriminator[-1], 1))
    return {"generator": Net(makes, (latent,)), "discriminator": Net(tells, in_shape)}


class OfClass(nn.Module):
    """Layers of `[h, one-hot class]`, h flattened and passed through `before`. `(batch, ...)` to `(batch, width)`."""

    def __init__(self, classes: int, *layers: nn.Module | None, before: nn.Module | None = None):
        super().__init__()
        self.classes, self.before = classes, before
        self.layers = sequence(*layers)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        h = h if self.before is None else self.before(h)
        out: Tensor = self.layers(torch.cat([h.flatten(1), F.one_hot(batch.y, self.classes).to(h)], 1))
        return out
