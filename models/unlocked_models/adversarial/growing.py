"""Progressive growing of GANs (Karras et al. 2018, arXiv:1710.10196): a run for each resolution, with fade-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.adversarial.layers import OfClass
from unlocked_models.autoencoder.plain import corruption
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import sequence


@register_model("growing_gan", family="adversarial", nets=("generator", "discriminator"))
def growing_gan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    latent: int = 16,
    base: int = 4,
    channels: list[int] = [32, 16],  # noqa: B006  (read, never changed)
    fade: float = 0.5,
    dropout: float = 0.3,
    noise: float = 0.1,
    conditional: bool = True,
) -> dict[str, Net]:
    """GAN whose nets grow with the images: `base` pixels a side, then twice as many, and so on. `batch.y` is the class.

    Both nets have all blocks from the beginning, and the size of the images says how many work; the others pass h on.
    So a run at twice the size begins with the weights of the one before it (`transfer.run`), and its new blocks fade
    in: with a = progress / `fade`, at most 1, and x the images,

        generator:      (1 - a) image_of_old(up(h)) + a image_of_new(new(up(h)))
        discriminator:  what the old blocks read is (1 - a) old_of_image(down(x)) + a down(new(new_of_image(x)))

    Shapes: z `(batch, latent)` to maps of `channels[0]` x base x base; each block doubles them. A new block passes on
    both of its paths as channels of one h. The discriminator is the mirror of it, and gives the logit `(batch, 1)`.

    Options: `channels` of the maps at each resolution, the smallest first; `fade` the share of a run in which the new
    blocks fade in, 0: at once; `dropout` and `noise` in the discriminator, `conditional` as of `gan`.

    Differs from the paper: convolutions of 3 x 3 once in each block, no equalised learning rates and no deviation over
    the minibatch; noise and dropout in the discriminator in their place.

    >>> [len(list(net.blocks)) for net in growing_gan((1, 8, 8), 10).values()]
    [3, 2]
    """
    checks.outputs("growing_gan", n_outputs)
    checks.whole("latent", latent)
    checks.whole("base", base, 2)
    checks.sizes("channels", channels, least_many=1)
    checks.not_negative("fade", fade)
    checks.fraction("dropout", dropout)
    checks.not_negative("noise", noise)
    maps, *_ = checks.image("growing_gan", in_shape, base)
    level, classes, top = level_of(in_shape, base, channels), n_outputs if conditional else 0, len(channels) - 1

    def makes() -> Iterator[nn.Module]:
        linear = nn.Linear(latent + classes, channels[0] * base * base)
        first = nn.Conv2d(channels[0], channels[0], 3, padding=1)
        unflat = nn.Unflatten(1, (channels[0], base, base))
        yield OfClass(classes, linear, unflat, Activation(), first, Activation())
        for k in range(1, top + 1):
            yield Doubling(channels[k - 1], channels[k], _role(k, level))
        yield ToImage(channels, maps, level, fade)

    def tells() -> Iterator[nn.Module]:
        blurred = corruption("gaussian", noise) if noise else None
        for k in range(top, -1, -1):
            yield Halving(k, base, channels, maps, level, fade, classes, dropout, blurred)

    return {"generator": Net(makes(), (latent,)), "discriminator": Net(tells(), in_shape)}


def level_of(in_shape: Sequence[int], base: int, channels: Sequence[int]) -> int:
    """How often maps of `base` x `base` are doubled to the images; `ValueError` if they never are, or not so often."""
    sides = [base * 2**k for k in range(len(channels))]
    height, width = in_shape[1:]
    if height != width or height not in sides:
        known = ", ".join(f"{side} x {side}" for side in sides)
        raise ValueError(
            f"model.channels: {list(channels)} from model.base {base} make images of {known}, the data has {height} x "
            f"{width}; give channels for every size, or images of another (data.options.side)"
        )
    return sides.index(height)


def _role(k: int, level: int) -> str:
    return "waits" if k > level else "new" if k == level else "works"


def fading(batch: Batch, fade: float) -> float:
    """a: 0 when the run begins, 1 from the share `fade` of it on, and outside training."""
    return 1.0 if fade == 0 else min(1.0, batch.progress / fade)


def mixed(low: Tensor, high: Tensor, a: float) -> Tensor:
    return high if a == 1 else low if a == 0 else (1 - a) * low + a * high


class Activation(nn.Module):
    """Leaky ReLU, then every pixel's channels divided by their root mean square (section 4.2 of the paper)."""

    def forward(self, h: Tensor) -> Tensor:
        h = F.leaky_relu(h, 0.2)
        return h * (h.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Doubling(nn.Module):
    """Maps `(batch, n_in, s, s)` to `(batch, n_out, 2s, 2s)`; a new one passes on its input too, doubled."""

    def __init__(self, n_in: int, n_out: int, role: str):
        super().__init__()
        self.role = role
        self.layers = sequence(nn.Conv2d(n_in, n_out, 3, padding=1), Activation())

    def forward(self, h: Tensor) -> Tensor:
        if self.role == "waits":
            return h
        low = F.interpolate(h, scale_factor=2.0)
        high: Tensor = self.layers(low)
        return torch.cat([high, low], 1) if self.role == "new" else high


class ToImage(nn.Module):
    """A convolution of 1 x 1 for each resolution; the last of them, and the one before it while a block fades in."""

    def __init__(self, channels: Sequence[int], maps: int, level: int, fade: float):
        super().__init__()
        self.level, self.fade, self.width = level, fade, channels[level]
        self.of = nn.ModuleList(nn.Conv2d(n, maps, 1) for n in channels)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        high: Tensor = self.of[self.level](h[:, : self.width])
        if self.level == 0:
            return high
        a = fading(batch, self.fade)
        return high if a == 1 else mixed(self.of[self.level - 1](h[:, self.width :]), high, a)


class Halving(nn.Module):
    """What the discriminator does at resolution k. The one of the images reads them; the one after it fades them in."""

    def __init__(
        self,
        k: int,
        base: int,
        channels: Sequence[int],
        maps: int,
        level: int,
        fade: float,
        classes: int,
        dropout: float,
        blurred: nn.Module | None,
    ):
        super().__init__()
        self.k, self.level, self.fade, self.maps, self.classes = k, level, fade, maps, classes
        self.blurred = blurred
        self.of_image = sequence(nn.Conv2d(maps + classes, channels[k], 1), nn.LeakyReLU(0.2))
        drop = nn.Dropout(dropout) if dropout else None
        if k > 0:
            self.layers = sequence(nn.Conv2d(channels[k], channels[k - 1], 3, padding=1), nn.LeakyReLU(0.2), drop)
        else:
            conv = nn.Conv2d(channels[0], channels[0], 3, padding=1)
            linear = nn.Linear(channels[0] * base * base, 1)
            self.layers = sequence(conv, nn.LeakyReLU(0.2), drop, nn.Flatten(), linear)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        if self.k > self.level:
            return h
        if self.k == self.level:
            x = h if self.blurred is None else self.blurred(h)
            out: Tensor = self.layers(self._read(x, batch))
            return out if self.k == 0 else torch.cat([F.avg_pool2d(out, 2), F.avg_pool2d(x, 2)], 1)
        if self.k == self.level - 1:  # h holds the new block's maps, and the images as the old blocks saw them
            h, x = h[:, : -self.maps], h[:, -self.maps :]
            a = fading(batch, self.fade)
            h = h if a == 1 else mixed(self._read(x, batch), h, a)
        out = self.layers(h)
        return out if self.k == 0 else F.avg_pool2d(out, 2)

    def _read(self, x: Tensor, batch: Batch) -> Tensor:
        if self.classes:
            planes = F.one_hot(batch.y, self.classes).to(x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes], 1)
        out: Tensor = self.of_image(x)
        return out
