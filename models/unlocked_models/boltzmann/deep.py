"""Deep Boltzmann machines (Salakhutdinov and Hinton 2009): several hidden layers, each connected with its neighbours in
both directions.

    E(v, h_1 .. h_L) = -b.v - sum_l c_l.h_l - sum_l h_l.W_l h_{l-1},    h_0 = v

Given the odd layers the even ones are independent, and the other way round: a step of Gibbs sampling draws one half,
then the other, and the energy of the odd layers alone is exact. Given the data no half is independent: its expectation
is taken under q(h | v) of independent units, whose means are those of mean field, and F(v) becomes an upper bound,
E_q[E] - H(q) >= F(v).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.boltzmann.energy import MOST_UNITS, BoltzmannBlock, log_sum
from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

MEAN_FIELD = 10  # updates of every layer


@register_model("dbm", family="boltzmann")
def dbm(in_shape: tuple[int, ...], n_outputs: int, hidden: list[int] = [16, 16]) -> Iterator[nn.Module]:  # noqa: B006
    """Deep Boltzmann machine of two `hidden` layers or more: one block, for its layers learn from each other.

    Shapes: `(batch, *in_shape)` in {0, 1}, flattened, to the means of the last layer given it, `(batch, hidden[-1])`.
    `n_outputs` is not used: there is no label.

    >>> [tuple(W.shape) for W in dbm((1, 8, 8), 10)[0].weights]
    [(16, 64), (16, 16)]
    """
    checks.sizes("hidden", hidden, 2)
    yield DeepBoltzmannMachine([math.prod(in_shape), *hidden])


class DeepBoltzmannMachine(BoltzmannBlock):
    """A state is the odd layers, h_1, h_3, ..., side by side."""

    bounded = True

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.weights = nn.ParameterList(0.01 * torch.randn(above, below) for below, above in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths[1:])
        self.visible_bias = nn.Parameter(torch.zeros(widths[0]))
        self.widths = list(widths)

    def forward(self, x: Tensor) -> Tensor:
        return self.means(self.visible(x))[-1]

    def means(self, v: Tensor) -> list[Tensor]:
        """Of the hidden layers given v, by mean field: odd ones, then even ones, again and again. The first guess goes
        up with doubled weights, for what comes from above is not there yet."""
        layers, last = [v], len(self.biases)
        for k in range(last):
            layers.append(
                torch.sigmoid((2 if k + 1 < last else 1) * F.linear(layers[k], self.weights[k], self.biases[k]))
            )
        for _ in range(MEAN_FIELD):
            for parity in (1, 0):
                for k in range(2 - parity, last + 1, 2):
                    layers[k] = torch.sigmoid(self._field(k, layers))
        return layers[1:]

    def free_energy(self, v: Tensor) -> Tensor:
        """The bound; the means carry no graph, for at mean field's fixed point its gradient by them is zero."""
        with torch.no_grad():
            means = self.means(v)
        layers = [v, *means]
        energy = -(v @ self.visible_bias)
        for k, mean in enumerate(means):
            energy = energy - mean @ self.biases[k] - (F.linear(layers[k], self.weights[k]) * mean).sum(1)
            energy = energy + (torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum(1)
        return energy

    def energy(self, state: Tensor) -> Tensor:
        """The even layers, the visible units among them, are summed in closed form."""
        return -self._summed(state, 1)

    def begin(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(torch.cat(self.means(v)[::2], 1), generator=generator)

    def gibbs(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        layers = self._layers(state, 1)
        for parity in (0, 1):
            for k in range(parity, len(self.widths), 2):
                layers[k] = torch.bernoulli(torch.sigmoid(self._field(k, layers)), generator=generator)
        return torch.cat(layers[1::2], 1)

    def mean(self, state: Tensor) -> Tensor:
        return torch.sigmoid(self._field(0, self._layers(state, 1)))

    def reconstruction(self, v: Tensor) -> Tensor:
        return torch.sigmoid(self._field(0, [v, *self.means(v)]))

    def filters(self) -> Tensor:
        found: Tensor = self.weights[0]
        return found

    def hidden_units(self) -> int:
        return sum(self.widths[1:])

    def log_z(self) -> Tensor | None:
        units = [sum(self.widths[parity::2]) for parity in (0, 1)]
        parity = units.index(min(units))
        if units[parity] > MOST_UNITS:
            return None
        exact = DeepBoltzmannMachine(self.widths).to(self.visible_bias.device).double()
        exact.load_state_dict(self.state_dict())
        with torch.no_grad():
            return log_sum(units[parity], exact.visible_bias, lambda states: exact._summed(states, parity))

    def _layers(self, states: Tensor, parity: int) -> list[Tensor]:
        """All layers, of which those of this parity stand side by side in `states`; the others are empty."""
        pieces = iter(states.split(self.widths[parity::2], 1))
        empty = states.new_empty(0)
        return [next(pieces) if k % 2 == parity else empty for k in range(len(self.widths))]

    def _field(self, k: int, layers: Sequence[Tensor]) -> Tensor:
        """The input of every unit of layer k, from its neighbours."""
        field = self._bias(k)
        if k > 0:
            field = field + F.linear(layers[k - 1], self.weights[k - 1])
        if k < len(self.weights):
            field = field + layers[k + 1] @ self.weights[k]
        return field

    def _summed(self, states: Tensor, parity: int) -> Tensor:
        """log of the sum of exp(-E) over the layers of the other parity, `(batch,)`."""
        layers = self._layers(states, parity)
        total = torch.zeros(len(states), dtype=states.dtype, device=states.device)
        for k, layer in enumerate(layers):
            own = layer @ self._bias(k) if k % 2 == parity else F.softplus(self._field(k, layers)).sum(1)
            total = total + own
        return total

    def _bias(self, k: int) -> Tensor:
        found: Tensor = self.biases[k - 1] if k else self.visible_bias
        return found
