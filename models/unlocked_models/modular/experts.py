"""Mixtures of experts: small networks of which every example asks a few (Shazeer et al. 2017, arXiv:1701.06538).

A layer is two blocks, so that both are plain and can be cut apart. The router passes its input on with a score per
expert beside it, `[h, r]`, and adds the loss that balances their load (Fedus et al. 2022, arXiv:2101.03961, eq. 4):

    r = W h + b  (+ softplus(V h) noise, in training)            noise ~ N(0, 1)
    balance E sum_e f_e P_e,     f_e the share of choices that fall on e, P_e the mean of softmax(r)_e

The experts give h + sum over the `active` greatest r_e of g_e F_e(h), F_e(h) = W_e' relu(W_e h), with g the softmax of
those scores, or, of one expert alone, of all scores (Fedus et al., equation 2: else the router would have no gradient).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import sequence


class Router(nn.Module):
    """`(batch, width)` to `(batch, width + experts)`: the input, and a score for every expert beside it."""

    def __init__(self, width: int, experts: int, active: int, balance: float, noise: bool):
        super().__init__()
        self.active, self.balance = active, balance
        self.score = nn.Linear(width, experts)
        self.spread = nn.Linear(width, experts) if noise else None

    @property
    def experts(self) -> int:
        return self.score.out_features

    def forward(self, h: Tensor) -> Tensor:
        scores: Tensor = self.score(h)
        if self.spread is not None and self.training:
            scores = scores + F.softplus(self.spread(h)) * torch.randn_like(scores)
        return torch.cat([h, scores], -1)

    def chosen(self, h: Tensor) -> Tensor:
        """Of its outputs: which experts each example asks, `(batch, experts)` of zeros and ones."""
        scores = h[..., -self.experts :].detach()
        return torch.zeros_like(scores).scatter(-1, scores.topk(self.active).indices, 1.0)

    def local_loss(self, h: Tensor, batch: Batch) -> Tensor:
        """1 times `balance` if all experts are asked alike, more if some are asked more."""
        share = self.chosen(h).mean(0) / self.active
        return self.balance * self.experts * (share * h[:, -self.experts :].softmax(-1).mean(0)).sum()


class Experts(nn.Module):
    """`[h, r] (batch, width + experts)` to `(batch, width)`; an expert computes only what it is asked."""

    feedback_point = True

    def __init__(self, width: int, experts: int, inner: int, active: int):
        super().__init__()
        self.active = active
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)) for _ in range(experts)
        )

    def forward(self, routed: Tensor) -> Tensor:
        h, scores = routed.tensor_split([-len(self.experts)], -1)
        best, asked = scores.topk(self.active)  # (batch, active)
        gates = best.softmax(-1) if self.active > 1 else scores.softmax(-1).gather(-1, asked)
        out = h
        for e, expert in enumerate(self.experts):
            rows, places = (asked == e).nonzero(as_tuple=True)
            out = out.index_add(0, rows, gates[rows, places, None] * expert(h[rows]))
        return out


@register_model("moe", family="modular", pictured=True)
def moe(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 1,
    experts: int = 8,
    active: int = 2,
    inner: int = 32,
    balance: float = 0.01,
    noise: bool = True,
) -> Iterator[nn.Module]:
    """Mixture of experts (Shazeer et al. 2017; of one active expert: Switch, Fedus et al. 2022).

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`. A block that reads, two per layer (router and
    experts), and the head.

    Options: `width` of h; `depth` layers of `experts`, of which every example asks the `active` best; `inner` width of
    an expert; `balance`, the weight of the loss that spreads the load; `noise` on the scores in training, of learned
    size.

    >>> len(moe((1, 8, 8), 10, depth=2))
    6
    """
    checks.outputs("moe", n_outputs)
    for key, value in {"width": width, "depth": depth, "experts": experts, "active": active, "inner": inner}.items():
        checks.whole(key, value)
    checks.not_negative("balance", balance)
    if active > experts:
        raise ValueError(f"model.active: {active} are more than the {experts} experts (model.experts)")
    flatten = nn.Flatten() if len(in_shape) > 1 else None
    yield sequence(flatten, nn.Linear(math.prod(in_shape), width), nn.ReLU())
    for _ in range(depth):
        yield Router(width, experts, active, balance, noise)
        yield Experts(width, experts, inner, active)
    yield nn.Linear(width, n_outputs)
