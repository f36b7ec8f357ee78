"""What all Boltzmann machines share: an energy of their units, samples of them, and the partition function.

    p(s) = exp(-E(s)) / Z,    E linear in the parameters,    p(v) = sum_h exp(-E(v, h)) / Z = exp(-F(v)) / Z

Z sums over all states, so it is exact for few units; beyond them annealed importance sampling estimates it (Neal 2001;
Salakhutdinov and Murray 2008, "On the Quantitative Analysis of Deep Belief Networks").
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract.batch import Batch

MOST_UNITS = 20  # that log Z is summed over, 2^units states
_STATES = 1 << 13  # at once


class BoltzmannBlock(nn.Module, ABC):
    """A block that is learned by samples of its own: all that contrastive divergence asks of it.

    A *state* is what its Gibbs sampling goes on with, `(batch, units)`: the visible units of a machine whose hidden
    units can be summed over, other units of one whose cannot. Its parameter `visible_bias` is that of the visible
    units, and its energy is linear in its parameters.
    """

    visible_bias: nn.Parameter
    bounded = False  # `free_energy` is an upper bound, so that a likelihood made of it is a lower one
    log_volume = 0.0  # log of the volume of the input that one of visible units stands for

    # its visible units ---------------------------------------------------------------------------------------

    def visible(self, x: Tensor, batch: Batch | None = None) -> Tensor:
        """The block's input as its visible units, `(batch, visible)`; `batch` if labels are some of them."""
        return x.flatten(1)

    def shown(self, v: Tensor) -> Tensor:
        """Visible units as an input."""
        return v

    def visible_sum(self, fields: Tensor) -> Tensor:
        """log of the sum of exp(v . fields) over all v, `(batch,)`."""
        return F.softplus(fields).sum(-1)

    def visible_mean(self, fields: Tensor) -> Tensor:
        return torch.sigmoid(fields)

    def draw_visible(self, fields: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(self.visible_mean(fields), generator=generator)

    # what it learns by ---------------------------------------------------------------------------------------

    @abstractmethod
    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) `(batch,)`, in the graph of the weights; an upper bound if the machine is `bounded`."""

    def data_energy(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """`(batch,)`, in the graph: its gradient is that of F(v), or an estimate drawn from p(h | v)."""
        return self.free_energy(v)

    @abstractmethod
    def energy(self, state: Tensor) -> Tensor:
        """-log p(state) - log Z, `(batch,)`, in the graph."""

    @abstractmethod
    def begin(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The state from which Gibbs sampling begins at v."""

    @abstractmethod
    def gibbs(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Another state, a step of Gibbs sampling later."""

    def noise(self, rows: int, generator: torch.Generator | None = None) -> Tensor:
        """States that begin at visible units drawn without any bias."""
        fields = torch.zeros(
            rows, len(self.visible_bias), dtype=self.visible_bias.dtype, device=self.visible_bias.device
        )
        return self.begin(self.draw_visible(fields, generator), generator)

    # what it shows -------------------------------------------------------------------------------------------

    @abstractmethod
    def mean(self, state: Tensor) -> Tensor:
        """The mean of the visible units, given the hidden ones of a state or their means, `(batch, visible)`."""

    @abstractmethod
    def reconstruction(self, v: Tensor) -> Tensor:
        """The mean of v given the means of the hidden units given v, `(batch, visible)`."""

    @abstractmethod
    def filters(self) -> Tensor:
        """The weights between the visible units and those that look at them, `(units, visible)`."""

    @abstractmethod
    def hidden_units(self) -> int: ...

    @abstractmethod
    def log_z(self) -> Tensor | None:
        """log Z, exact, `()` in float64; None if it is a sum over more than 2^`MOST_UNITS` states."""


def all_states(units: int, like: Tensor) -> Iterator[Tensor]:
    """Every state of so many binary units, `(states, units)`, in pieces that memory holds."""
    bits = torch.arange(units, device=like.device)
    for start in range(0, 1 << units, _STATES):
        states = torch.arange(start, min(start + _STATES, 1 << units), device=like.device)
        yield ((states[:, None] >> bits) & 1).to(like.dtype)


def log_sum(units: int, like: Tensor, minus_energy: Callable[[Tensor], Tensor]) -> Tensor | None:
    """log of the sum of exp(minus_energy(states)) over all states of so many units; None if they are too many."""
    if units > MOST_UNITS:
        return None
    total = torch.tensor(-math.inf, dtype=like.dtype, device=like.device)
    for states in all_states(units, like):
        total = torch.logaddexp(total, torch.logsumexp(minus_energy(states), 0))
    return total


class Estimate(NamedTuple):
    """Of log Z. `error`: its standard error, from how the weights of the chains spread."""

    log_z: float
    error: float


def annealed(
    block: BoltzmannBlock, base: Tensor, steps: int = 1000, chains: int = 100, generator: torch.Generator | None = None
) -> Estimate:
    """log Z by annealed importance sampling.

    The chains begin at independent visible units with biases `base (visible,)`, whose Z is known, and pass through
    `steps` machines between them and `block`: the energy (1 - beta) E_base + beta E, beta from 0 to 1. The weight of a
    chain is the product of the ratios of neighbouring machines at its states; their mean is unbiased for Z / Z_base.
    """
    hot = copy.deepcopy(block).double()
    given = {name: p.detach().double() for name, p in block.named_parameters()}
    base = base.detach().double()

    def heat(beta: float) -> None:
        for name, p in hot.named_parameters():
            p.copy_(beta * given[name] + ((1 - beta) * base if name == "visible_bias" else 0.0))

    with torch.no_grad():
        heat(0.0)
        state = hot.begin(hot.draw_visible(base.expand(chains, -1), generator), generator)
        weights = torch.zeros(chains, dtype=base.dtype, device=base.device)
        for k in range(1, steps + 1):
            weights += hot.energy(state)
            heat(k / steps)
            weights -= hot.energy(state)
            if k < steps:
                state = hot.gibbs(state, generator)
        log_base = hot.visible_sum(base) + block.hidden_units() * math.log(2)
        ratios = (weights - weights.max()).exp()
        error = ratios.std() / ratios.mean() / math.sqrt(chains)
        log_z = log_base + weights.max() + ratios.mean().log()
    return Estimate(float(log_z) + block.log_volume, float(error))
