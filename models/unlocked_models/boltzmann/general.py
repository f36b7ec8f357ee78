"""The Boltzmann machine (Ackley, Hinton and Sejnowski 1985): any unit is connected with any other.

    E(s) = -a.s - 1/2 s.J s,    s = (v, h),  J symmetric with a zero diagonal
    p(s_i = 1 | all others) = sigmoid(a_i + J_i.s)

Units are drawn one after the other, so a step of Gibbs sampling is as long as the machine is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.boltzmann.energy import BoltzmannBlock, all_states, log_sum
from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

MOST_HIDDEN = 10  # units that F(v) is summed over, for every example
SWEEPS = 3  # over the hidden units, from random ones on, before they count as drawn given v


@register_model("boltzmann", family="boltzmann")
def boltzmann(in_shape: tuple[int, ...], n_outputs: int, hidden: int = 0) -> Iterator[nn.Module]:
    """Boltzmann machine: one block, all of whose binary units are connected; at most 10 of them `hidden`.

    Shapes: `(batch, *in_shape)` in {0, 1}, flattened, to the means of the hidden units given it, `(batch, hidden)`; of
    a machine that has none to the mean of every unit given all others, `(batch, visible)`. `n_outputs` is not used.

    >>> boltzmann((1, 3, 3), 10, hidden=4)[0].weight.shape
    torch.Size([13, 13])
    """
    checks.whole("hidden", hidden, 0)
    if hidden > MOST_HIDDEN:
        raise ValueError(
            f"model.hidden: {hidden} hidden units are more than {MOST_HIDDEN}, over which the free energy of every "
            f"example is summed; an rbm sums any number in closed form"
        )
    yield BoltzmannMachine(math.prod(in_shape), hidden)


class BoltzmannMachine(BoltzmannBlock):
    """`weight` above its diagonal is J there, and below it by symmetry; the rest of it has no part in anything. A state
    is all units, the visible ones first."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(visible + hidden, visible + hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))

    def forward(self, x: Tensor) -> Tensor:
        v = self.visible(x)
        return self._hidden_means(v) if len(self.bias) else self.reconstruction(v)

    def coupling(self) -> Tensor:
        """J."""
        upper = self.weight.triu(1)
        return upper + upper.t()

    def energy(self, state: Tensor) -> Tensor:
        return -(state @ self._biases()) - ((state @ self.weight.triu(1)) * state).sum(1)

    def free_energy(self, v: Tensor) -> Tensor:
        if not len(self.bias):
            return self.energy(v)
        n = len(self.visible_bias)
        J, (h,) = self.coupling(), all_states(len(self.bias), v)  # h (states, hidden)
        of_h = h @ self.bias + ((h @ self.weight[n:, n:].triu(1)) * h).sum(1)  # (states,)
        fields = v @ J[:n, n:]  # (batch, hidden)
        return self._visible_energy(v) - torch.logsumexp(fields @ h.t() + of_h, 1)

    def data_energy(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        with torch.no_grad():
            state = self.begin(v, generator)
        return self.energy(state)

    def begin(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not len(self.bias):
            return v
        half = torch.full((len(v), len(self.bias)), 0.5, dtype=v.dtype, device=v.device)
        state = torch.cat([v, torch.bernoulli(half, generator=generator)], 1)
        for _ in range(SWEEPS):
            state = self._swept(state, range(len(self.visible_bias), state.shape[1]), generator)
        return state

    def gibbs(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self._swept(state, range(state.shape[1]), generator)

    def mean(self, state: Tensor) -> Tensor:
        """Of each visible unit, given all others."""
        n = len(self.visible_bias)
        return torch.sigmoid(state @ self.coupling()[:, :n] + self.visible_bias)

    def reconstruction(self, v: Tensor) -> Tensor:
        return self.mean(torch.cat([v, self._hidden_means(v)], 1))

    def filters(self) -> Tensor:
        """Of the hidden units; of a machine that has none the couplings of every unit."""
        n = len(self.visible_bias)
        return self.coupling()[n if len(self.bias) else 0 :, :n]

    def hidden_units(self) -> int:
        return len(self.bias)

    def log_z(self) -> Tensor | None:
        U, a = self.weight.double().triu(1), self._biases().double()
        return log_sum(len(a), U, lambda s: s @ a + ((s @ U) * s).sum(1))

    def _biases(self) -> Tensor:
        return torch.cat([self.visible_bias, self.bias])

    def _visible_energy(self, v: Tensor) -> Tensor:
        n = len(self.visible_bias)
        return -(v @ self.visible_bias) - ((v @ self.weight[:n, :n].triu(1)) * v).sum(1)

    def _hidden_means(self, v: Tensor) -> Tensor:
        """Given v and, instead of the other hidden units, their means: mean-field iterations."""
        n = len(self.visible_bias)
        J = self.coupling()
        fields, mean = v @ J[:n, n:] + self.bias, torch.full_like(v[:, :1], 0.5).expand(-1, len(self.bias))
        for _ in range(SWEEPS):
            mean = torch.sigmoid(fields + mean @ J[n:, n:])
        return mean

    def _swept(self, state: Tensor, units: range, generator: torch.Generator | None) -> Tensor:
        """Each of these units drawn anew, one after the other."""
        state, J, a = state.clone(), self.coupling(), self._biases()
        drawn = torch.rand(len(state), len(units), generator=generator, dtype=state.dtype, device=state.device)
        for k, i in enumerate(units):
            state[:, i] = (drawn[:, k] < torch.sigmoid(torch.addmv(a[i], state, J[i]))).to(state.dtype)
        return state
