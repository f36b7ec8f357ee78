"""Initialisers by name, for the weights of any model's blocks: torch's own draws, with their arguments.

`fan_in` and `fan_out` are how many weights lead into and out of a unit: of a convolution its maps times its kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from unlocked_models.contract.registry import Registry, unknown

Fill = Callable[[Tensor, float], object]  # of a weight `(out, in, ...)`, given the gain of what follows it
INITIALISERS: Registry[Callable[..., Fill | None]] = Registry("initialiser")


@INITIALISERS.register("default")
def default() -> None:
    """As each layer begins by itself."""


@INITIALISERS.register("zero")
def zero() -> Fill:
    """All weights 0, which learns under dfa, and under backprop in the last layer alone."""
    return lambda weight, gain: nn.init.zeros_(weight)


@INITIALISERS.register("constant")
def constant(value: float = 0.01) -> Fill:
    """All weights `value`."""
    return lambda weight, gain: nn.init.constant_(weight, value)


@INITIALISERS.register("normal")
def normal(std: float = 0.01, mean: float = 0.0) -> Fill:
    """N(mean, std^2)."""
    _not_negative("std", std)
    return lambda weight, gain: nn.init.normal_(weight, mean, std)


@INITIALISERS.register("uniform")
def uniform(bound: float = 0.05) -> Fill:
    """U(-bound, bound)."""
    _not_negative("bound", bound)
    return lambda weight, gain: nn.init.uniform_(weight, -bound, bound)


@INITIALISERS.register("xavier")
def xavier(distribution: str = "normal", gain: float | None = None) -> Fill:
    """Variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    return _scaled(distribution, gain, lambda gain, fan_in, fan_out: gain * math.sqrt(2 / (fan_in + fan_out)))


@INITIALISERS.register("he")
def he(distribution: str = "normal", gain: float | None = None) -> Fill:
    """Variance gain^2 / fan_in (He et al. 2015, arXiv:1502.01852)."""
    return _scaled(distribution, gain, _by_inputs)


@INITIALISERS.register("lecun")
def lecun(distribution: str = "normal") -> Fill:
    """Variance 1 / fan_in (LeCun et al. 1998), also selu's (Klambauer et al. 2017)."""
    return _scaled(distribution, 1.0, _by_inputs)


@INITIALISERS.register("orthogonal")
def orthogonal(gain: float | None = None) -> Fill:
    """W W^T = gain^2 I, or W^T W of a weight with more rows than columns (Saxe et al. 2013, arXiv:1312.6120)."""
    return lambda weight, of: nn.init.orthogonal_(weight, of if gain is None else gain)


@INITIALISERS.register("sparse")
def sparse(sparsity: float = 0.9, std: float = 0.01) -> Fill:
    """N(0, std^2), and the fraction `sparsity` of the weights out of each input 0 (Martens 2010)."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be at least 0 and less than 1, got {sparsity}")
    _not_negative("std", std)
    return lambda weight, gain: nn.init.sparse_(weight.view(len(weight), -1), sparsity, std)


def fill_weights(blocks: Sequence[nn.Module], fill: Fill, gain: float, begin: Callable[[int], object]) -> None:
    """Every weight of the blocks by `fill`; `begin(i)` before those of block i, to seed their draws.

    Weights are the parameters of that name with two axes or more. Embeddings keep their own, to which one input leads;
    recurrent layers are filled gate by gate. Biases of linear and convolutional layers become 0. The last weight of all
    is followed by no activation: its gain is 1. A weight that several layers share is filled for the first of them.
    """
    found = [(i, layer, weight) for i, block in enumerate(blocks) for layer, weight in _weights(block)]
    done: set[int] = set()
    begun = -1
    for i, layer, weight in found:
        if i != begun:
            begin(i)
            begun = i
        if id(weight) in done or weight.is_meta:
            continue
        done.add(id(weight))
        with torch.no_grad():
            for part in _parts(layer, weight):
                filled = torch.empty_like(part, memory_format=torch.contiguous_format)
                fill(filled, 1.0 if weight is found[-1][2] else gain)
                part.copy_(filled)
            bias = getattr(layer, "bias", None)
            if isinstance(layer, _WITH_BIAS) and isinstance(bias, Tensor):
                bias.zero_()


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WITH_BIAS = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)


def _weights(block: nn.Module) -> Iterator[tuple[nn.Module, Tensor]]:
    for layer in block.modules():
        if isinstance(layer, nn.Embedding):
            continue
        for name, weight in layer.named_parameters(recurse=False):
            if weight.dim() > 1 and (name.startswith("weight") or isinstance(layer, nn.ParameterList)):
                yield layer, weight


def _parts(layer: nn.Module, weight: Tensor) -> Sequence[Tensor]:
    """Views `(out, in, ...)` of a weight, each filled by itself."""
    if isinstance(layer, _TRANSPOSED):
        return [weight.transpose(0, 1)]
    if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
        return weight.split(layer.hidden_size)  # type: ignore[no-any-return]
    return [weight]


def _by_inputs(gain: float, fan_in: int, fan_out: int) -> float:
    return gain / math.sqrt(fan_in)


def _scaled(distribution: str, own: float | None, std: Callable[[float, int, int], float]) -> Fill:
    if distribution not in _DRAWS:
        raise ValueError(unknown("distribution", distribution, list(_DRAWS)))
    draw = _DRAWS[distribution]
    if own is not None:
        _not_negative("gain", own)

    def fill(weight: Tensor, gain: float) -> None:
        receptive = math.prod(weight.shape[2:])
        fan_in, fan_out = weight.shape[1] * receptive, weight.shape[0] * receptive
        draw(weight, std(gain if own is None else own, fan_in, fan_out))

    return fill


def _normal(weight: Tensor, std: float) -> object:
    return nn.init.normal_(weight, std=std)


def _uniform(weight: Tensor, std: float) -> object:
    return nn.init.uniform_(weight, -(3**0.5) * std, 3**0.5 * std)


_DRAWS: dict[str, Callable[[Tensor, float], object]] = {"normal": _normal, "uniform": _uniform}


def _not_negative(key: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{key} must be at least 0 and finite, got {value}")
