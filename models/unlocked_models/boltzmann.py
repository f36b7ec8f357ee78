"""Boltzmann machines: energies of binary vectors, learned by what they make likely (Smolensky 1986; Hinton 2002).

A restricted Boltzmann machine (RBM) has visible units v and hidden units h, no connections within either, and

    E(v, h) = -b.v - c.h - h.W v,    p(v) = sum_h exp(-E(v, h)) / Z = exp(-F(v)) / Z
    F(v) = -b.v - sum_i softplus(c_i + W_i.v)              the free energy
    p(h_i = 1 | v) = sigmoid(c_i + W_i.v),    p(v_j = 1 | h) = sigmoid(b_j + h.W_j)

Z sums over all states of the smaller layer, so it is exact for few units and out of reach for many.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

MOST_UNITS = 20  # of the smaller layer, whose 2^units states log Z sums over
_STATES = 1 << 13  # at once


class BoltzmannBlock(nn.Module, ABC):
    """A block that is learned by samples of its own: all that contrastive divergence asks of it.

    Its output, given v, is p(h | v).
    """

    @abstractmethod
    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) `(batch,)`, in the graph of the weights."""

    @abstractmethod
    def gibbs(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Another v, drawn from p(v | h) for an h drawn from p(h | v)."""

    @abstractmethod
    def reconstruction(self, v: Tensor) -> Tensor:
        """p(v | h) for the mean of h given v, `(batch, visible)`."""

    @abstractmethod
    def visible(self, x: Tensor) -> Tensor:
        """The block's input as its visible units, `(batch, visible)`."""


@register_model("rbm", family="boltzmann")
def rbm(in_shape: tuple[int, ...], n_outputs: int, hidden: list[int] = [16]) -> Iterator[nn.Module]:  # noqa: B006
    """Restricted Boltzmann machines, each on p(h | v) of the one below it (Hinton, Osindero and Teh 2006).

    Shapes: `(batch, *in_shape)` in [0, 1], flattened, to p(h | v) of the last, `(batch, hidden[-1])`. One block per
    RBM, of `hidden` units each; one alone is a density of the data. `n_outputs` is not used: there is no label.

    >>> rbm((1, 8, 8), 10)[0].weight.shape
    torch.Size([16, 64])
    """
    checks.sizes("hidden", hidden, 1)
    for visible, units in pairwise([math.prod(in_shape), *hidden]):
        yield RBM(visible, units)


class RBM(BoltzmannBlock):
    """Binary units; W starts with deviation 0.01, biases at zero (Hinton 2010, "A Practical Guide", section 8)."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))

    def visible(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self._field(self.visible(x)))

    def down(self, h: Tensor) -> Tensor:
        """p(v | h), `(batch, visible)`."""
        return torch.sigmoid(F.linear(h, self.weight.t(), self.visible_bias))

    def free_energy(self, v: Tensor) -> Tensor:
        return -(v @ self.visible_bias) - F.softplus(self._field(v)).sum(1)

    def gibbs(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        h = torch.bernoulli(torch.sigmoid(self._field(v)), generator=generator)
        return torch.bernoulli(self.down(h), generator=generator)

    def reconstruction(self, v: Tensor) -> Tensor:
        return self.down(torch.sigmoid(self._field(v)))

    def log_z(self) -> Tensor | None:
        """log Z, exact, `()` in float64; None if the smaller layer has more than `MOST_UNITS` units."""
        W, b, c = self.weight.double(), self.visible_bias.double(), self.bias.double()
        if len(c) > len(b):
            W, b, c = W.t(), c, b  # sum over the visible units; the hidden ones are summed in closed form
        if len(c) > MOST_UNITS:
            return None
        bits, total = torch.arange(len(c), device=W.device), torch.tensor(-math.inf, dtype=W.dtype, device=W.device)
        for start in range(0, 1 << len(c), _STATES):
            states = torch.arange(start, min(start + _STATES, 1 << len(c)), device=W.device)
            h = ((states[:, None] >> bits) & 1).to(W.dtype)  # (states, units)
            total = torch.logaddexp(total, torch.logsumexp(h @ c + F.softplus(h @ W + b).sum(1), 0))
        return total

    def _field(self, v: Tensor) -> Tensor:
        """What moves each hidden unit, `(batch, hidden)`."""
        return F.linear(v, self.weight, self.bias)
