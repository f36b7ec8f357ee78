"""Restricted Boltzmann machines (Smolensky 1986; Hinton 2002): no connections within a layer.

    E(v, h) = -b.v - c.h - h.W v,    F(v) = -b.v - sum_i softplus(c_i + W_i.v)
    p(h_i = 1 | v) = sigmoid(c_i + W_i.v),    p(v_j = 1 | h) = sigmoid(b_j + h.W_j)

Real visible units (Gaussian-Bernoulli; Hinton and Salakhutdinov 2006) add |v|^2 / 2, so that given h they have
deviation 1 about b + h W. Z sums over all states of the smaller layer, or of the hidden one if the visible units are
real.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.boltzmann.energy import BoltzmannBlock, log_sum
from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model


@register_model("rbm", family="boltzmann")
def rbm(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [16],  # noqa: B006
    visible: str = "binary",
    deviation: float = 1.0,
) -> Iterator[nn.Module]:
    """Restricted Boltzmann machines, each on p(h | v) of the one below it (Hinton, Osindero and Teh 2006).

    Shapes: `(batch, *in_shape)`, flattened, to p(h | v) of the last, `(batch, hidden[-1])`. One block per RBM, of
    `hidden` units each; one alone is a density of the data. `visible` binary, inputs of 0 and 1, or gaussian, real
    inputs of which each has the `deviation` given the hidden units. `n_outputs` is not used: there is no label.

    >>> rbm((1, 8, 8), 10)[0].weight.shape
    torch.Size([16, 64])
    """
    checks.sizes("hidden", hidden, 1)
    checks.positive("deviation", deviation)
    real = checks.pick({"binary": False, "gaussian": True}, "visible", visible)
    if deviation != 1 and not real:
        raise ValueError(f"model.deviation: {deviation} is of real visible units, model.visible=gaussian")
    widths = [math.prod(in_shape), *hidden]
    for k, (n_visible, units) in enumerate(pairwise(widths)):
        yield GaussianRBM(n_visible, units, deviation) if real and k == 0 else RBM(n_visible, units)


class RBM(BoltzmannBlock):
    """Binary units; W starts with deviation 0.01, biases at zero (Hinton 2010, "A Practical Guide", section 8)."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self._field(self.visible(x)))

    def down(self, h: Tensor) -> Tensor:
        """The mean of v given h, `(batch, visible)`."""
        return self.visible_mean(self._fields_down(h))

    def log_down(self, v: Tensor, h: Tensor) -> Tensor:
        """log p(v | h), `(batch,)`."""
        fields = self._fields_down(h)
        return (v * fields).sum(1) - self.visible_sum(fields)

    def free_energy(self, v: Tensor) -> Tensor:
        return -(v @ self.visible_bias) - F.softplus(self._field(v)).sum(1)

    def energy(self, state: Tensor) -> Tensor:
        """A state is the visible units."""
        return self.free_energy(state)

    def begin(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return v

    def gibbs(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        h = torch.bernoulli(torch.sigmoid(self._field(state)), generator=generator)
        return self.draw_visible(self._fields_down(h), generator)

    def mean(self, state: Tensor) -> Tensor:
        return self.reconstruction(state)

    def reconstruction(self, v: Tensor) -> Tensor:
        return self.down(torch.sigmoid(self._field(v)))

    def filters(self) -> Tensor:
        return self.weight

    def hidden_units(self) -> int:
        return len(self.bias)

    def log_z(self) -> Tensor | None:
        W, b, c = self.weight.double(), self.visible_bias.double(), self.bias.double()
        if type(self) is RBM and len(b) < len(c):  # hidden units are summed in closed form
            return log_sum(len(b), W, lambda v: v @ b + F.softplus(v @ W.t() + c).sum(1))
        return log_sum(len(c), W, lambda h: h @ c + self.visible_sum(h @ W + b) + self.log_volume)

    def _field(self, v: Tensor) -> Tensor:
        """The input of each hidden unit, `(batch, hidden)`."""
        return F.linear(v, self.weight, self.bias)

    def _fields_down(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.t(), self.visible_bias)


class GaussianRBM(RBM):
    """Real visible units: inputs divided by `deviation`, which is that of each given the hidden units."""

    def __init__(self, visible: int, hidden: int, deviation: float):
        super().__init__(visible, hidden)
        self._deviation, self.log_volume = deviation, visible * math.log(deviation)

    def visible(self, x: Tensor, batch: object = None) -> Tensor:
        return x.flatten(1) / self._deviation

    def shown(self, v: Tensor) -> Tensor:
        return v * self._deviation

    def free_energy(self, v: Tensor) -> Tensor:
        return super().free_energy(v) + 0.5 * v.square().sum(1)

    def log_down(self, v: Tensor, h: Tensor) -> Tensor:
        return super().log_down(v, h) - 0.5 * v.square().sum(1) - self.log_volume

    def visible_sum(self, fields: Tensor) -> Tensor:
        return (0.5 * fields.square() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def visible_mean(self, fields: Tensor) -> Tensor:
        return fields

    def draw_visible(self, fields: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return fields + torch.empty_like(fields).normal_(generator=generator)
