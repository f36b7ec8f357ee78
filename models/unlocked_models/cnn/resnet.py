"""Residual networks (He, Zhang, Ren and Sun 2015, arXiv 1512.03385): h + F(h), two 3x3 convolutions in F."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn import functional

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import image_norm, initialised, scaled, sequence

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # residual blocks per stage, table 1
CHANNELS = (64, 128, 256, 512)
CIFAR_DEPTHS = (20, 32, 44, 56, 110)  # 6n + 2, section 4.2
CIFAR_CHANNELS = (16, 32, 64)


@register_model("resnet", family="cnn")
def resnet(
    in_shape: tuple[int, ...],
    n_outputs: int,
    depth: int = 18,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "batch",
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """ResNet-18 and 34 for images around 224 x 224 (He et al. 2015): 7x7 stem, four stages, global pool.

    Shapes: `(batch, channels, height, width)` of at least 32 x 32 to `(batch, n_outputs)`. Blocks: the
    stem, one per residual block (its skip stays inside), the head. Where the shape changes the skip is a
    1x1 projection (the paper's option B).

    Options: `depth` 18 or 34; `width` multiplies all layers; `activation`, `init` as for mlp; `norm`
    batch, layer or none.
    """
    channels, *_ = checks.image("resnet", in_shape, least=32)
    checks.outputs("resnet", n_outputs)
    checks.positive("width", width)
    checks.one_of("depth", depth, list(STAGES))

    def stem(n_out: int) -> nn.Module:
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        return sequence(_conv(channels, n_out, 7, 2, norm), image_norm(norm, n_out), activation_layer(activation), pool)

    stages = STAGES[depth]
    blocks = _blocks(stem, stages, CHANNELS, n_outputs, width, activation, norm, Projection)
    yield from initialised(blocks, sum(stages) + 2, init, activation)


@register_model("resnet_small", family="cnn")
def resnet_small(
    in_shape: tuple[int, ...],
    n_outputs: int,
    depth: int = 18,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "batch",
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """ResNet for small images (He et al. 2015, section 4.2): 3x3 stem without pool, full resolution first.

    `depth` 20, 32, 44, 56 and 110 are the paper's CIFAR networks, three stages of 16, 32 and 64 maps whose
    skips pad with zeros (option A, no parameters); 18 and 34 are `resnet`'s four stages of 64 to 512 maps.

    Shapes: `(batch, channels, height, width)` of at least 8 x 8 to `(batch, n_outputs)`. Blocks and the
    other options as for resnet.
    """
    channels, *_ = checks.image("resnet_small", in_shape, least=8)
    checks.outputs("resnet_small", n_outputs)
    checks.positive("width", width)
    checks.one_of("depth", depth, [*STAGES, *CIFAR_DEPTHS])

    cifar = depth in CIFAR_DEPTHS
    stages: tuple[int, ...] = ((depth - 2) // 6,) * 3 if cifar else STAGES[depth]
    maps: tuple[int, ...] = CIFAR_CHANNELS if cifar else CHANNELS

    def stem(n_out: int) -> nn.Module:
        return sequence(_conv(channels, n_out, 3, 1, norm), image_norm(norm, n_out), activation_layer(activation))

    blocks = _blocks(stem, stages, maps, n_outputs, width, activation, norm, ZeroPadded if cifar else Projection)
    yield from initialised(blocks, sum(stages) + 2, init, activation)


class Residual(nn.Module):
    """Basic block: phi(skip(h) + norm(conv(phi(norm(conv(h)))))), the first convolution with the stride."""

    def __init__(self, n_in: int, n_out: int, stride: int, activation: str, norm: str, skip: type[nn.Module]):
        super().__init__()
        self.body = sequence(
            _conv(n_in, n_out, 3, stride, norm),
            image_norm(norm, n_out),
            activation_layer(activation),
            _conv(n_out, n_out, 3, 1, norm),
            image_norm(norm, n_out),
        )
        same = n_in == n_out and stride == 1
        self.skip = nn.Identity() if same else skip(n_in, n_out, stride, norm)
        self.activation = activation_layer(activation)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.activation(self.skip(h) + self.body(h))
        return out


class Projection(nn.Sequential):
    """Skip of option B: 1x1 convolution with the stride, and norm."""

    def __init__(self, n_in: int, n_out: int, stride: int, norm: str):
        super().__init__(*sequence(_conv(n_in, n_out, 1, stride, norm), image_norm(norm, n_out)))


class ZeroPadded(nn.Module):
    """Skip of option A: every `stride`-th pixel, and zeros for the maps that are new."""

    def __init__(self, n_in: int, n_out: int, stride: int, norm: str):
        super().__init__()
        self.before, self.stride = (n_out - n_in) // 2, stride
        self.after = n_out - n_in - self.before

    def forward(self, h: Tensor) -> Tensor:
        strided = h[:, :, :: self.stride, :: self.stride]
        return functional.pad(strided, (0, 0, 0, 0, self.before, self.after))


def _blocks(
    stem: Callable[[int], nn.Module],
    stages: tuple[int, ...],
    channels: tuple[int, ...],
    n_outputs: int,
    width: float,
    activation: str,
    norm: str,
    skip: type[nn.Module],
) -> Iterator[nn.Module]:
    n_in = scaled(channels[0], width)
    yield stem(n_in)
    for stage, (repeats, maps) in enumerate(zip(stages, channels, strict=True)):
        n_out = scaled(maps, width)
        for repeat in range(repeats):
            stride = 2 if stage > 0 and repeat == 0 else 1
            yield Residual(n_in, n_out, stride, activation, norm, skip)
            n_in = n_out
    yield nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_outputs))


def _conv(n_in: int, n_out: int, kernel: int, stride: int, norm: str) -> nn.Conv2d:
    # A norm that follows would take a bias away again.
    return nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=norm == "none")
