"""StyleGAN at small size (Karras et al. 2019, arXiv:1812.04948): z is mapped to w, which is a style of every layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.adversarial.dcgan import doublings_to
from unlocked_models.adversarial.gan import logit
from unlocked_models.adversarial.layers import MapsOfClass
from unlocked_models.autoencoder.plain import corruption
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import sequence

LAYERS = 2  # with a style each, at every resolution


@register_model("stylegan", family="adversarial", nets=("generator", "discriminator"))
def stylegan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    latent: int = 16,
    style: int = 32,
    mapping: int = 2,
    channels: int = 16,
    mixing: float = 0.5,
    dropout: float = 0.3,
    noise: float = 0.1,
    kernels: int = 0,
) -> dict[str, Net]:
    """StyleGAN. `batch.y` is the class, which the mapping and the discriminator see.

    Shapes: two latents z `(batch, 2, latent)` become two w `(batch, 2, style)`: `mapping` blocks (linear, leaky ReLU).
    `Mixing` gives a style for each layer, `(batch, layers, style)`: those of one w, and from a random layer on those of
    the other, in a share `mixing` of the examples; outside training the first w alone. Then a learned constant of at
    least 4 x 4 pixels is doubled to the image, in blocks of two layers: convolution (the constant itself in the first),
    noise, leaky ReLU, `AdaIN`. Styles of layers that follow ride along as planes of h that are the same at every pixel.

    Options: `channels` of the last maps, twice as many at half the size; `noise`, `dropout` and `kernels` are those of
    the discriminator, that of `dcgan`.

    Differs from the paper: size, no blur, no equalised learning rates, no truncation, and a class; minibatch
    discrimination (`kernels`) in the place of the deviation over the minibatch.

    >>> nets = stylegan((1, 8, 8), 10)
    >>> nets["generator"].in_shape, len(list(nets["generator"].blocks))
    ((2, 16), 6)
    """
    checks.outputs("stylegan", n_outputs)
    for key, value in (("latent", latent), ("style", style), ("mapping", mapping), ("channels", channels)):
        checks.whole(key, value)
    checks.fraction("dropout", dropout)
    checks.not_negative("noise", noise)
    checks.whole("kernels", kernels, 0)
    if not 0 <= mixing <= 1:
        raise ValueError(f"model.mixing: must be from 0 to 1, got {mixing}")
    maps, height, width = checks.image("stylegan", in_shape, 8)
    doublings = doublings_to("stylegan", height, width)
    widths = [channels * 2**k for k in reversed(range(doublings + 1))]
    side = (height >> doublings, width >> doublings)
    layers = LAYERS * (doublings + 1)

    def makes() -> Iterator[nn.Module]:
        for k in range(mapping):
            yield Mapping(latent + n_outputs if k == 0 else style, style, n_outputs if k == 0 else 0)
        yield Mixing(layers, mixing)
        for k, n_out in enumerate(widths):
            size = (side[0] << k, side[1] << k)
            yield Styled(widths[k - 1] if k else None, n_out, size, style, layers - LAYERS * k)
        yield nn.Conv2d(widths[-1], maps, 1)

    def tells() -> Iterator[nn.Module]:
        blurred = corruption("gaussian", noise) if noise else None
        conv = nn.Conv2d(maps + n_outputs, channels, 3, padding=1)
        yield MapsOfClass(n_outputs, conv, nn.LeakyReLU(0.2), before=blurred)
        for n_out, n_in in zip(widths[-2::-1], widths[:0:-1], strict=True):
            drop = nn.Dropout(dropout) if dropout else None
            yield sequence(nn.Conv2d(n_in, n_out, 4, 2, 1), nn.LeakyReLU(0.2), drop)
        yield sequence(nn.Flatten(), logit(widths[0] * side[0] * side[1], kernels, spectral=False))

    return {"generator": Net(makes(), (2, latent)), "discriminator": Net(tells(), in_shape)}


class Mapping(nn.Module):
    """One layer of f: z to w, of both latents: `(batch, 2, n_in)` to `(batch, 2, n_out)`.

    The first one (`classes` above 0) has z of length sqrt(latent), and the class beside it.
    """

    def __init__(self, n_in: int, n_out: int, classes: int = 0):
        super().__init__()
        self.classes = classes
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        if self.classes:
            h = h * (h.square().mean(-1, keepdim=True) + 1e-8).rsqrt()
            h = torch.cat([h, F.one_hot(batch.y, self.classes).to(h)[:, None].expand(-1, h.shape[1], -1)], -1)
        return F.leaky_relu(self.linear(h), 0.2)


class Mixing(nn.Module):
    """Two w `(batch, 2, style)` to the styles of all layers `(batch, layers, style)` (style mixing, section 3.1)."""

    def __init__(self, layers: int, share: float):
        super().__init__()
        self.layers, self.share = layers, share

    def forward(self, w: Tensor) -> Tensor:
        one, other = w[:, :1].expand(-1, self.layers, -1), w[:, 1:].expand(-1, self.layers, -1)
        if not self.training or self.share == 0:
            return one.contiguous()
        begins = torch.randint(1, self.layers, (len(w), 1, 1), device=w.device)
        begins = begins.masked_fill(torch.rand(len(w), 1, 1, device=w.device) >= self.share, self.layers)
        return torch.where(torch.arange(self.layers, device=w.device)[None, :, None] < begins, one, other)


class AdaIN(nn.Module):
    """Adaptive instance normalisation (equation 1): y_s (x - mean(x)) / deviation(x) + y_b, over the pixels of a map.

    `(batch, channels, height, width)` and w `(batch, style)`; the style (y_s, y_b) = A w begins as (1, 0).
    """

    def __init__(self, channels: int, style: int):
        super().__init__()
        self.affine = nn.Linear(style, 2 * channels)
        with torch.no_grad():
            self.affine.bias[:channels], self.affine.bias[channels:] = 1.0, 0.0

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, 1)
        out: Tensor = scale * F.instance_norm(x, eps=1e-5) + shift
        return out


class Noise(nn.Module):
    """One picture of noise for all channels, each of which takes its own share; outside training always the same."""

    fixed: Tensor

    def __init__(self, channels: int, size: tuple[int, int]):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("fixed", torch.randn(1, 1, *size))

    def forward(self, x: Tensor) -> Tensor:
        drawn = torch.randn(len(x), 1, *x.shape[2:], dtype=x.dtype, device=x.device) if self.training else self.fixed
        return x + self.share * drawn


class Styled(nn.Module):
    """Two layers at one resolution, whose styles are the first two of those that h holds; it passes on the rest.

    h of the first block: styles `(batch, layers, style)`; of the others maps `(batch, n_in + layers * style, s, s)`, to
    `(batch, n_out + (layers - 2) * style, 2s, 2s)`.
    """

    def __init__(self, n_in: int | None, n_out: int, size: tuple[int, int], style: int, layers: int):
        super().__init__()
        self.n_in, self.style, self.layers = n_in, style, layers
        if n_in is None:
            self.constant = nn.Parameter(torch.randn(1, n_out, *size))
        else:
            self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.then = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.noise = nn.ModuleList(Noise(n_out, size) for _ in range(LAYERS))
        self.adain = nn.ModuleList(AdaIN(n_out, style) for _ in range(LAYERS))

    def forward(self, h: Tensor) -> Tensor:
        if self.n_in is None:
            styles, x = h, self.constant.repeat(len(h), 1, 1, 1)
        else:
            planes = h[:, self.n_in :].mean((2, 3))  # of equal numbers: its gradient is spread over the pixels
            styles = planes.view(len(h), self.layers, self.style)
            x = self.conv(F.interpolate(h[:, : self.n_in], scale_factor=2.0))
        x = self.adain[0](F.leaky_relu(self.noise[0](x), 0.2), styles[:, 0])
        x = self.adain[1](F.leaky_relu(self.noise[1](self.then(x)), 0.2), styles[:, 1])
        rest = styles[:, LAYERS:].flatten(1)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return torch.cat([x, rest], 1)
