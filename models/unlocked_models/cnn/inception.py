"""Inception networks: GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842) and a small one for 32 x 32 images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import convolution, initialised, scaled

# Table 1 of the paper: maps of 1x1; reduced, 3x3; reduced, 5x5; 1x1 after the pool.
GOOGLENET = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Zhang et al. 2017, figure 3: maps of 1x1 and 3x3; one number where the resolution is halved.
SMALL = ((32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160))


@register_model("inception", family="cnn")
def inception(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "none",
    lrn: bool = True,
    dropout: float = 0.4,
    auxiliary: bool = True,
    aux_weight: float = 0.3,
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """GoogLeNet for images around 224 x 224 (Szegedy et al. 2014): a stem, nine inception modules, head.

    Two auxiliary classifiers, on modules 4a and 4d, each add `aux_weight` times their cross entropy to the
    loss of the module that holds them (`local_loss`); the forward pass does not compute them.

    Shapes: `(batch, channels, height, width)` of at least 79 x 79 to `(batch, n_outputs)`. Thirteen blocks;
    a max pool belongs to the block before it.

    Options: `width` multiplies all layers; `activation`, `init` as for mlp; `norm` none, batch, layer, group or
    instance, after every convolution; `lrn` local response normalisation in the stem; `dropout` in [0, 1), before
    the head; `auxiliary` whether there are auxiliary classifiers; `aux_weight` their weight, at least 0.
    """
    channels, height, columns = checks.image("inception", in_shape, least=79)
    checks.outputs("inception", n_outputs)
    checks.positive("width", width)
    checks.fraction("dropout", dropout)
    checks.not_negative("aux_weight", aux_weight)

    c1, c2 = scaled(64, width), scaled(192, width)
    lrn1, lrn2 = (nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0) if lrn else None for _ in range(2))

    def blocks() -> Iterator[nn.Module]:
        yield convolution(channels, c1, 7, _halve(), lrn1, norm=norm, act=activation, stride=2, padding=3)
        yield convolution(c1, c1, 1, norm=norm, act=activation)
        yield convolution(c1, c2, 3, lrn2, _halve(), norm=norm, act=activation, padding=1)
        n_in = c2
        for name, maps in GOOGLENET.items():
            module = inception_module(n_in, [scaled(m, width) for m in maps], activation, norm)
            n_in = module.n_out
            if auxiliary and name in ("4a", "4d"):
                pool = nn.AvgPool2d(5, stride=3)
                positions = _tapped(height) * _tapped(columns)  # 224: 14 x 14 pooled to 4 x 4
                sizes = n_in, scaled(128, width), positions, scaled(1024, width)
                classifier = auxiliary_classifier(pool, *sizes, n_outputs, 0.7, activation, norm)
                yield WithAuxiliary(module, classifier, aux_weight)
            else:
                yield nn.Sequential(module, _halve()) if name in ("3b", "4e") else module
        yield _head(n_in, n_outputs, dropout)

    yield from initialised(blocks(), len(GOOGLENET) + 4, init, activation)


@register_model("inception_small", family="cnn")
def inception_small(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: float = 1.0,
    activation: str = "relu",
    norm: str = "batch",
    dropout: float = 0.0,
    auxiliary: bool = True,
    aux_weight: float = 0.3,
    init: str = "kaiming",
) -> Iterator[nn.Module]:
    """Inception for small images (Zhang et al. 2017, arXiv 1611.03530, figure 3): modules of 1x1 and 3x3.

    One auxiliary classifier, after the last module before the second halving; it is an addition of ours to
    the paper's network, in the manner of GoogLeNet's.

    Shapes: `(batch, channels, height, width)` of at least 8 x 8 to `(batch, n_outputs)`. Twelve blocks: a
    convolution, eight modules and two halvings, the head.

    Options: as for inception, without `lrn`.
    """
    channels, *_ = checks.image("inception_small", in_shape, least=8)
    checks.outputs("inception_small", n_outputs)
    checks.positive("width", width)
    checks.fraction("dropout", dropout)
    checks.not_negative("aux_weight", aux_weight)

    def blocks() -> Iterator[nn.Module]:
        n_in = scaled(96, width)
        yield convolution(channels, n_in, 3, norm=norm, act=activation, padding=1)
        for maps in SMALL:
            if isinstance(maps, int):
                module = halving_module(n_in, scaled(maps, width), activation, norm)
            else:
                module = small_module(n_in, scaled(maps[0], width), scaled(maps[1], width), activation, norm)
            n_in = module.n_out
            if auxiliary and maps == (48, 96):
                sizes = n_in, scaled(64, width), 16, scaled(256, width)
                pool = nn.AdaptiveAvgPool2d(4)
                classifier = auxiliary_classifier(pool, *sizes, n_outputs, 0.0, activation, norm)
                yield WithAuxiliary(module, classifier, aux_weight)
            else:
                yield module
        yield _head(n_in, n_outputs, dropout)

    yield from initialised(blocks(), len(SMALL) + 2, init, activation)


class Branches(nn.Module):
    """Branches over the same input, their maps joined: `(batch, n_in, h, w)` to `(batch, n_out, h', w')`."""

    def __init__(self, n_out: int, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.n_out = n_out

    def forward(self, h: Tensor) -> Tensor:
        return torch.cat([branch(h) for branch in self.branches], dim=1)


class WithAuxiliary(nn.Module):
    """A module with an auxiliary classifier on its output, which only `local_loss` runs."""

    def __init__(self, body: nn.Module, classifier: nn.Module, weight: float):
        super().__init__()
        self.body, self.classifier, self.weight = body, classifier, weight

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.body(h)
        return out

    def local_loss(self, h: Tensor, batch: Batch) -> Tensor:
        """`weight` times the classifier's cross entropy, from this block's own output `h` in the graph."""
        if batch.y.is_floating_point() or batch.y.dim() != 1:
            raise ValueError(
                "model.auxiliary: the auxiliary classifiers need one class label per example; "
                "for another task set model.auxiliary: false"
            )
        return self.weight * functional.cross_entropy(self.classifier(h), batch.y)


def inception_module(n_in: int, maps: list[int], activation: str, norm: str) -> Branches:
    """Figure 2b: 1x1; 1x1 then 3x3; 1x1 then 5x5; pool then 1x1."""
    one, reduce3, three, reduce5, five, pooled = maps

    def conv(n_in: int, n_out: int, kernel: int) -> nn.Module:
        return convolution(n_in, n_out, kernel, norm=norm, act=activation, padding=kernel // 2)

    return Branches(
        one + three + five + pooled,
        conv(n_in, one, 1),
        nn.Sequential(conv(n_in, reduce3, 1), conv(reduce3, three, 3)),
        nn.Sequential(conv(n_in, reduce5, 1), conv(reduce5, five, 5)),
        nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(n_in, pooled, 1)),
    )


def small_module(n_in: int, one: int, three: int, activation: str, norm: str) -> Branches:
    """1x1 beside 3x3."""
    return Branches(
        one + three,
        convolution(n_in, one, 1, norm=norm, act=activation),
        convolution(n_in, three, 3, norm=norm, act=activation, padding=1),
    )


def halving_module(n_in: int, maps: int, activation: str, norm: str) -> Branches:
    """3x3 convolution of stride 2 beside a pool of stride 2."""
    return Branches(
        maps + n_in,
        convolution(n_in, maps, 3, norm=norm, act=activation, stride=2, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def auxiliary_classifier(
    pool: nn.Module,
    n_in: int,
    maps: int,
    positions: int,
    hidden: int,
    n_outputs: int,
    dropout: float,
    activation: str,
    norm: str,
) -> nn.Sequential:
    """Section 5: average pool, 1x1 convolution, a linear layer with dropout, the class scores."""
    return nn.Sequential(
        pool,
        convolution(n_in, maps, 1, norm=norm, act=activation),
        nn.Flatten(),
        nn.Linear(maps * positions, hidden),
        activation_layer(activation),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_outputs),
    )


def _head(n_in: int, n_outputs: int, dropout: float) -> nn.Sequential:
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *drop, nn.Linear(n_in, n_outputs))


def _halve() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _tapped(pixels: int) -> int:
    """What the stem, the pool of 3b and the auxiliary pool (5, stride 3) leave of a side."""
    return ((pixels + 1) // 2 // 8 - 5) // 3 + 1
