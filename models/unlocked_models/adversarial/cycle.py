"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593): two translators between two domains, and a discriminator of each."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from unlocked_models.autoencoder.plain import corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import sequence

NETS = ("to_b", "to_a", "tells_a", "tells_b")


@register_model("cyclegan", family="adversarial", nets=NETS)
def cyclegan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    channels: int = 16,
    residual: int = 1,
    tells: int = 16,
    noise: float = 0.1,
    output: str = "sigmoid",
) -> dict[str, Net]:
    """Translators of images, and discriminators of their patches.

    Shapes: a translator keeps the size of the image: convolution of 3 x 3, `residual` blocks of two convolutions that
    are added to what they read, and a convolution to the image; instance norm and ReLU between. A discriminator halves
    it once (4 x 4, stride 2) and gives a number for each patch, `(batch, 1, height / 2, width / 2)`.

    Options: `channels` of the translators, `tells` of the discriminators; `noise` the deviation of what is added to
    every image that a discriminator sees in training; `output` linear, sigmoid or tanh, of the translators.

    Differs from the paper: the translators do not halve the image, which has few pixels; no pool of old images, noise
    on the discriminator's images in its place.

    >>> {net: len(list(its.blocks)) for net, its in cyclegan((1, 8, 8), 10).items()}
    {'to_b': 3, 'to_a': 3, 'tells_a': 3, 'tells_b': 3}
    """
    for key, value in (("channels", channels), ("residual", residual), ("tells", tells)):
        checks.whole(key, value)
    checks.not_negative("noise", noise)
    maps, *_ = checks.image("cyclegan", in_shape, 4)
    output_layers(output, in_shape)  # refuses now what it does not know

    def translates() -> Iterator[nn.Module]:
        yield sequence(nn.Conv2d(maps, channels, 3, padding=1), nn.InstanceNorm2d(channels), nn.ReLU())
        for _ in range(residual):
            yield Residual(channels)
        squash, *_ = output_layers(output, in_shape)
        yield sequence(nn.Conv2d(channels, maps, 3, padding=1), squash)

    def judges() -> Iterator[nn.Module]:
        blurred = corruption("gaussian", noise) if noise else None
        yield sequence(blurred, nn.Conv2d(maps, tells, 4, 2, 1), nn.LeakyReLU(0.2))
        norm = nn.InstanceNorm2d(2 * tells)
        yield sequence(nn.Conv2d(tells, 2 * tells, 3, padding=1), norm, nn.LeakyReLU(0.2))
        yield nn.Conv2d(2 * tells, 1, 3, padding=1)

    return {net: Net(judges() if net.startswith("tells") else translates(), in_shape) for net in NETS}


class Residual(nn.Module):
    """h + two convolutions of it."""

    def __init__(self, channels: int):
        super().__init__()
        conv, again = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        norm, last = (nn.InstanceNorm2d(channels) for _ in range(2))
        self.layers = sequence(conv, norm, nn.ReLU(), again, last)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.layers(h)
        return out
