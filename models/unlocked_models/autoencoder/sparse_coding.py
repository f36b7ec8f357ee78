"""Sparse coding (Olshausen and Field 1996): an example is a sum of few columns of a learned dictionary."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.autoencoder.plain import Layer, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model


@register_model("sparse_coding", family="autoencoder")
def sparse_coding(
    in_shape: tuple[int, ...],
    n_outputs: int,
    atoms: int = 128,
    penalty: float = 0.1,
    iterations: int = 50,
    solver: str = "fista",
) -> Iterator[nn.Module]:
    """Sparse coding: code and dictionary minimise 1/2 |x - D z|^2 + penalty |z|_1, every column of D of length 1.

    Shapes: `(batch, *in_shape)`, flattened, to codes `(batch, atoms)` and back. Two blocks: codes by `iterations` steps
    of `solver` ista (Daubechies et al. 2004) or fista (Beck and Teboulle 2009), and reconstruction. `atoms` columns,
    `penalty` as above. `n_outputs` is not used: there is no label.

    What learns by what: a code is the minimum for its example, so the dictionary's gradient is that of the
    reconstruction error at codes held fixed (Danskin's theorem) and nothing is to be propagated through the iterations.
    Both blocks hold the dictionary, which starts the same. The first learns it from its own local loss, the
    reconstruction error; the second from the task's loss, the very same error: the two stay one without a message, cut
    or not, and no scheme has to bring a gradient down (under dfa with a lag the first follows that much later; under
    frozen it stays as drawn). Columns have length 1 by construction, D_j = V_j / |V_j|.

    What counts is the objective, logged as `local/loss/module_0` (twice it): at the same penalty a worse dictionary may
    leave a smaller error, by longer codes.

    >>> len(sparse_coding((1, 8, 8), 10))
    2
    """
    checks.whole("atoms", atoms)
    checks.positive("penalty", penalty)
    checks.whole("iterations", iterations)
    checks.pick({"ista": 0, "fista": 0}, "solver", solver)
    features, state = math.prod(in_shape), torch.get_rng_state()
    yield SparseCoder(features, atoms, penalty, iterations, accelerated=solver == "fista")
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)  # the same dictionary, without the first block's
        reconstruction = Dictionary(features, atoms)
    yield Layer([reconstruction, *output_layers("linear", in_shape)])


class Dictionary(nn.Module):
    """x = D z, columns of D `(features, atoms)` of length 1, from those of `weight` of any length."""

    def __init__(self, features: int, atoms: int):
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(features, atoms), dim=0))

    def columns(self) -> Tensor:
        return F.normalize(self.weight, dim=0)

    def forward(self, code: Tensor) -> Tensor:
        return F.linear(code, self.columns())


class SparseCoder(nn.Module):
    """Codes of examples under a dictionary that learns from its reconstruction error."""

    gives_code = True

    def __init__(self, features: int, atoms: int, penalty: float, iterations: int, accelerated: bool):
        super().__init__()
        self.dictionary = Dictionary(features, atoms)
        self.penalty, self.iterations, self.accelerated = penalty, iterations, accelerated

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return sparse_codes(
                x.flatten(1), self.dictionary.columns(), self.penalty, self.iterations, self.accelerated
            )

    def local_loss(self, h: Tensor, batch: Batch) -> Tensor:
        """Twice the objective, a mean over examples: its first term is the task's loss, its second moves no column."""
        assert batch.x is not None
        error = F.mse_loss(self.dictionary(h), batch.x.flatten(1), reduction="sum")
        return (error + 2 * self.penalty * h.abs().sum()) / len(h)


def sparse_codes(x: Tensor, D: Tensor, penalty: float, iterations: int, accelerated: bool = True) -> Tensor:
    """argmin_z 1/2 |x - D z|^2 + penalty |z|_1 for every row of `x (batch, features)`: `(batch, atoms)`.

    Proximal gradient steps of size 1/L from zero, L the greatest eigenvalue of D^T D: ISTA, with an error of O(1/k)
    after k of them; `accelerated` by momentum FISTA, O(1/k^2) (Beck and Teboulle 2009, eqs. 3.1 and 4.1 to 4.3).
    """
    gram, projected = D.t() @ D, x @ D
    step = 1 / torch.linalg.matrix_norm(D, 2).square()
    z = ahead = torch.zeros_like(projected)
    t = 1.0
    for _ in range(iterations):
        moved = ahead - step * (ahead @ gram - projected)
        following = moved - moved.clamp(-penalty * step, penalty * step)  # the proximal map of penalty |z|_1
        if accelerated:
            t_following = (1 + math.sqrt(1 + 4 * t * t)) / 2
            ahead = following + (t - 1) / t_following * (following - z)
            z, t = following, t_following
        else:
            z = ahead = following
    return z
