"""Layers by name: the norms and initialisations that `model:` options choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from unlocked_models.contract.checks import pick
from unlocked_models.layers.activations import activation, gain, pieces
from unlocked_models.layers.initialisers import Fill, default, he, lecun, orthogonal, xavier, zero


def _group_norm(features: int) -> nn.Module:
    """Of at most 32 groups, each of two features or more (Wu & He 2018, arXiv:1803.08494)."""
    most = max(1, min(32, features // 2))
    return nn.GroupNorm(next(g for g in range(most, 0, -1) if features % g == 0), features)


VECTOR_NORMS: dict[str, Callable[[int], nn.Module | None]] = {
    "none": lambda width: None,
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": _group_norm,
}
IMAGE_NORMS: dict[str, Callable[[int], nn.Module | None]] = {
    "none": lambda channels: None,
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),  # layer norm over channels and pixels
    "group": _group_norm,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),  # over the pixels of each map
}


def vector_norm(name: str, width: int) -> nn.Module | None:
    """Norm of features `(batch, width)`; None for "none"."""
    return pick(VECTOR_NORMS, "norm", name)(width)


def image_norm(name: str, channels: int) -> nn.Module | None:
    """Norm of maps `(batch, channels, height, width)`; None for "none"."""
    return pick(IMAGE_NORMS, "norm", name)(channels)


def sequence(*layers: nn.Module | None) -> nn.Sequential:
    """The given layers in order, without those that are None."""
    return nn.Sequential(*[layer for layer in layers if layer is not None])


def convolution(
    n_in: int,
    n_out: int,
    kernel: int,
    *after: nn.Module | None,
    norm: str,
    act: str,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> nn.Sequential:
    """One convolutional layer: convolution, norm, activation, then the layers `after` (a pool, say)."""
    maps = n_out * pieces(act)
    conv = nn.Conv2d(n_in, maps, kernel, stride=stride, padding=padding, groups=groups)
    return sequence(conv, image_norm(norm, maps), activation(act, of_pieces=True), *after)


def scaled(channels: int, width: float) -> int:
    """`channels` times a width multiplier, to the nearest even number (at least 2, so groups of two fit)."""
    return max(2, 2 * round(channels * width / 2))


# Initialisation, biases to zero: names of `model.init`
INITS: dict[str, Fill | None] = {
    "default": default(),  # as torch made them
    "kaiming": he(),
    "lecun": lecun(),
    "xavier": xavier(),
    "orthogonal": orthogonal(),
    "zeros": zero(),
}


def initialise(blocks: Iterable[nn.Module], init: str, act: str, whole: bool = True) -> None:
    """Fill the weights of all linear and convolutional layers by the rule `init`, for the activation `act`.

    The last layer of a net is followed by no activation: its gain is 1; `whole`: these blocks end with it. Biases start
    at zero, except with "default".
    """
    fill = pick(INITS, "init", init)
    if fill is None:
        return
    layers = [m for block in blocks for m in block.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        for layer in layers:
            fill(layer.weight, 1.0 if whole and layer is layers[-1] else gain(act))
            if layer.bias is not None:
                layer.bias.zero_()


def initialised(blocks: Iterable[nn.Module], of: int, init: str, act: str) -> Iterator[nn.Module]:
    """The `of` blocks of a net, each filled by `initialise` as it comes."""
    pick(INITS, "init", init)  # a wrong name is an error before the first block
    for i, block in enumerate(blocks, 1):
        initialise([block], init, act, whole=i == of)
        yield block
