"""Activations by name: torch's own, and those that it lacks, each with its equation.

A nonlinearity of ours is a layer of its own for schemes that reach into blocks (`feedback_point`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlocked_models.contract.checks import pick

PIECES = 2  # linear pieces of a maxout unit


class Softmax(nn.Module):
    """exp(a_j) / sum_i exp(a_i), over the features `(batch, ..., features)`, or over the channels of maps."""

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        return a.softmax(1 if a.dim() == 4 else -1)


class Step(nn.Module):
    """1 if a >= 0, else 0: the unit of the perceptron (Rosenblatt 1958).

    Its slope is 0 almost everywhere, so gradients pass straight through where |a| <= 1 (Bengio et al. 2013,
    arXiv:1308.3432; Hubara et al. 2016, arXiv:1602.02830, eq. 4).
    """

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        through = a.clamp(-1, 1)
        return (a >= 0).to(a.dtype) + (through - through.detach())  # the second term is 0, with the slope of a


class Maxout(nn.Module):
    """The largest of `PIECES` linear pieces of each unit (Goodfellow et al. 2013, arXiv:1302.4389).

    `(batch, ..., PIECES * features)` to `(batch, ..., features)`, or the same over the channels of maps: the layer
    below gives the pieces.
    """

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        axis = 1 if a.dim() == 4 else a.dim() - 1
        out: Tensor = a.unflatten(axis, (PIECES, -1)).amax(axis)
        return out


class Gaussian(nn.Module):
    """exp(-a^2)"""

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        return torch.exp(-a.square())


class Multiquadric(nn.Module):
    """sqrt(1 + a^2) (Hardy 1971)"""

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        return torch.sqrt(1 + a.square())


class Ricker(nn.Module):
    """(1 - a^2) exp(-a^2 / 2), the second derivative of a Gaussian up to its sign and scale."""

    feedback_point = True

    def forward(self, a: Tensor) -> Tensor:
        return (1 - a.square()) * torch.exp(-a.square() / 2)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "step": Step,
    "perceptron": Step,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hard_tanh": nn.Hardtanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "softmax": Softmax,
    "maxout": Maxout,
    "gaussian": Gaussian,
    "multiquadric": Multiquadric,
    "ricker": Ricker,
}


def pieces(name: str) -> int:
    """How many linear pieces each unit of this activation takes from the layer below."""
    return PIECES if pick(ACTIVATIONS, "activation", name) is Maxout else 1


def activation(name: str, of_pieces: bool = False) -> nn.Module:
    """`of_pieces`: the layer below gives `pieces(name)` times as many features as the unit is wide."""
    make = pick(ACTIVATIONS, "activation", name)
    if make is Maxout and not of_pieces:
        raise ValueError(
            f"model.activation: {name} takes {PIECES} linear pieces of every unit, which layers here do not give; "
            f"mlp and the plain convolutional models do"
        )
    return make()


def gain(name: str) -> float:
    """By which weights grow so that what passes keeps its variance, as `nn.init.calculate_gain` has it."""
    if name in _LEAKS:
        return float(nn.init.calculate_gain("leaky_relu", _LEAKS[name]))
    if name in ("relu", "tanh", "sigmoid", "selu", "linear"):
        return float(nn.init.calculate_gain(name))  # type: ignore[arg-type]
    return _GAINS.get(name, 2**0.5)  # gelu, silu, elu, softplus: the gain of relu, which they resemble


_LEAKS = {"leaky_relu": 0.01, "prelu": 0.25, "rrelu": (1 / 8 + 1 / 3) / 2}  # slopes below 0; of rrelu the mean
# Of two normal pieces the larger one has their mean square; hard_tanh is tanh's; the others have no gain of their own
_GAINS = {
    "hard_tanh": 5 / 3,
    "maxout": 1.0,
    "softmax": 1.0,
    "step": 1.0,
    "perceptron": 1.0,
    "gaussian": 1.0,
    "multiquadric": 1.0,
    "ricker": 1.0,
}
