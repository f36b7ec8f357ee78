"""Associative memories: classic Hopfield networks, whose units of -1 and 1 come to rest in a pattern that is stored.

Hopfield 1982, "Neural networks and physical systems with emergent collective computational abilities". One unit after
the other takes the sign of its input, until none changes; a unit does not hear itself, so with W symmetric

    s_i <- sign(sum_{j != i} W_ij s_j),    E = -1/2 sum_{i != j} W_ij s_i s_j    never grows.

Patterns x are stored one after the other, by a rule (N units, h = W x without the diagonal of W):

    hebb        W += x x^T / N                                                  Hopfield 1982
    storkey     W += (x x^T - x h^T - h x^T + 2 W) / N, diagonal 0                                 Storkey 1997
    projection  W += r r^T / r^T x, r = x - W x: the projection onto all x      Personnaz, Guyon and Dreyfus 1985

Hebb's rule stores about 0.138 N random patterns (Amit, Gutfreund and Sompolinsky 1985), and few that are alike; the
projection any that are linearly independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

MOST_SWEEPS = 200
ZERO = 1e-5  # what rounding makes of an input that is 0; Hebb's rule has steps of 2 / N
SMALL = 1e-9  # |r|^2 / N of a pattern that lies in the span of those that are stored


def hebb(W: Tensor, x: Tensor) -> Tensor:
    """What W `(units, units)` grows by for one pattern `(units,)`."""
    return torch.outer(x, x).fill_diagonal_(0) / len(x)


def storkey(W: Tensor, x: Tensor) -> Tensor:
    h = W @ x
    change = torch.outer(x, x) - torch.outer(x, h) - torch.outer(h, x) + 2 * W
    return change.fill_diagonal_(0) / len(x)


def projection(W: Tensor, x: Tensor) -> Tensor:
    r = x - W @ x
    along = r @ x  # |r|^2, as W is a projection
    return torch.outer(r, r) / along if along > SMALL * len(x) else torch.zeros_like(W)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"hebb": hebb, "storkey": storkey, "projection": projection}


def stored(patterns: Tensor, rule: str = "hebb") -> Tensor:
    """The weights `(units, units)` that store `patterns (n, units)` of -1 and 1."""
    W = patterns.new_zeros(patterns.shape[1], patterns.shape[1])
    for x in patterns:
        W = W + RULES[rule](W, x)
    return W


def energy(W: Tensor, states: Tensor) -> Tensor:
    """Of states `(n, units)`: `(n,)`."""
    return -0.5 * ((states @ _without_itself(W)) * states).sum(1)


def recalled(W: Tensor, states: Tensor, sweeps: int = MOST_SWEEPS, seed: int = 0) -> Tensor:
    """Where states `(n, units)` of -1 and 1 come to rest: sweeps over the units, one by one and in an order drawn anew
    for each sweep, until a sweep changes nothing. A unit whose input is 0 stays as it is."""
    generator, W = torch.Generator().manual_seed(seed), _without_itself(W)
    by_unit = states.T.contiguous()
    for _ in range(sweeps):
        before = by_unit.clone()
        for i in torch.randperm(len(W), generator=generator).tolist():
            drive = W[i] @ by_unit
            by_unit[i] = torch.where(drive.abs() < ZERO, by_unit[i], drive.sign())
        if torch.equal(by_unit, before):
            break
    return by_unit.T.contiguous()


class AssociativeMemory(nn.Module):
    """From states of 0 and 1, `(batch, ...)`, to those that they come to rest in, `(batch, units)`. Nothing of it has a
    slope, so its weight moves by `store` alone."""

    def __init__(self, units: int, sweeps: int):
        super().__init__()
        self.sweeps = sweeps
        self.weight = nn.Parameter(torch.zeros(units, units))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (recalled(self.weight, signs(x), self.sweeps) + 1) / 2

    @torch.no_grad()
    def store(self, x: Tensor, rule: str) -> Tensor:
        """Patterns `(n, ...)` of 0 and 1, one after the other. The share of their units that would flip, `()`, all of
        them stored."""
        patterns, W = signs(x), self.weight.double()
        for each in patterns.double():
            W = W + RULES[rule](W, each)
        self.weight.copy_(W)
        return ((patterns @ _without_itself(self.weight)) * patterns < -ZERO).to(x.dtype).mean()


def signs(x: Tensor) -> Tensor:
    """`(batch, units)` of -1 and 1."""
    return (x.flatten(1) > 0.5).to(x.dtype) * 2 - 1


def _without_itself(W: Tensor) -> Tensor:
    return W - W.diagonal().diag()


@register_model("hopfield_classic", family="associative")
def hopfield_classic(in_shape: tuple[int, ...], n_outputs: int, sweeps: int = 50) -> Iterator[nn.Module]:
    """Classic Hopfield network (Hopfield 1982): units of two states, which come to rest in a stored pattern.

    Shapes: `(batch, *in_shape)` of 0 and 1, flattened, to `(batch, n_outputs)` of 0 and 1, a unit per number; one
    block. Its scheme is `hebbian`. `sweeps` over the units at most, fewer if nothing changes.

    >>> hopfield_classic((1, 8, 8), 64)[0].weight.shape
    torch.Size([64, 64])
    """
    checks.whole("sweeps", sweeps)
    units = math.prod(in_shape)
    if n_outputs != units:
        raise ValueError(
            f"model.name: hopfield_classic recalls what it is shown, {units} units, and its data ask for {n_outputs} "
            f"numbers; data.name=patterns has targets for it"
        )
    yield AssociativeMemory(units, sweeps)
