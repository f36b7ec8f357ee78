"""Deep stacking networks (Deng and Yu 2011, "Deep Convex Net: A Scalable Architecture for Speech Pattern
Classification"): shallow nets on each other, each of which gives the targets by itself.

    h_k = sigmoid(W_k z_k),    y_k = U_k h_k,    z_{k+1} = [z_k, y_k],    z_1 = x

The biases of W and U are not written. U_k is linear in what it has to give, so a least-squares fit finds it in closed
form (`ridge`), and only W_k needs a gradient: the scheme `stacking`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model


class StackedModule(nn.Module):
    """`(batch, n_in)`, or with more axes, which are flattened, to `(batch, n_in + n_outputs)`: the input and y; of the
    last of a net y alone."""

    def __init__(self, n_in: int, units: int, n_outputs: int, last: bool):
        super().__init__()
        self.last = last
        self.lower, self.upper = nn.Sequential(nn.Linear(n_in, units), nn.Sigmoid()), nn.Linear(units, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return self.passed_on(z, self.upper(self.lower(z)))

    def passed_on(self, z: Tensor, y: Tensor) -> Tensor:
        return y if self.last else torch.cat([z, y], 1)

    @torch.no_grad()
    def fit(self, h: Tensor, targets: Tensor, penalty: float) -> None:
        """Sets U to what gives the targets `(batch, n_outputs)` best, of `h (batch, units)`."""
        U, bias = ridge(h, targets, penalty)
        self.upper.weight.copy_(U.T)
        self.upper.bias.copy_(bias)


def ridge(h: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """U `(units, outputs)` and the bias b that minimise mean |U^T h + b - t|^2 + penalty |U|^2; worked out in float64:

    U = (H^T H / n + penalty I)^-1 H^T T / n, of H and T less their means.
    """
    h64, t64 = h.double(), targets.double()
    h_mean, t_mean = h64.mean(0), t64.mean(0)
    centred = h64 - h_mean
    gram = centred.T @ centred / len(h) + penalty * torch.eye(h.shape[1], dtype=h64.dtype, device=h.device)
    U = torch.linalg.solve(gram, centred.T @ (t64 - t_mean) / len(h))
    return U.to(h.dtype), (t_mean - h_mean @ U).to(h.dtype)


@register_model("stacked", family="mlp")
def stacked(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [100, 100, 100],  # noqa: B006
) -> Iterator[nn.Module]:
    """Deep stacking network, or deep convex network (Deng and Yu 2011): nets of one hidden layer, each of which gives
    the targets from the input and from what all below it gave.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`. One block per net, of `hidden` units each. Train
    it by `stacking`, or as any other chain.

    >>> [block.lower[0].in_features for block in stacked((1, 8, 8), 10)]
    [64, 74, 84]
    """
    checks.outputs("stacked", n_outputs)
    checks.sizes("hidden", hidden, 1)
    n_in = math.prod(in_shape)
    for k, units in enumerate(hidden):
        yield StackedModule(n_in + k * n_outputs, units, n_outputs, k == len(hidden) - 1)
