"""Modern Hopfield networks (Ramsauer et al. 2021, arXiv:2008.02217): states s of real numbers move downhill to a stored
pattern of X, `(patterns, width)`:

    s' = X^T softmax(beta X s)                                                                   (3)
    E  = -log(sum_i exp(beta x_i s)) / beta + s^T s / 2 + const                                  (2)

Exponentially many patterns are recalled, and one step is an attention over them. `unlocked_models.associative` has the
classic ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import sequence


def retrieved(states: Tensor, patterns: Tensor, beta: float, steps: int, values: Tensor | None = None) -> Tensor:
    """Modern updates of states `(..., n, width)` over patterns `(..., patterns, width)`. With `values`
    `(..., patterns, out)` the last step gives those in place of the patterns: attention."""
    for left in reversed(range(steps)):
        weights = (beta * states @ patterns.transpose(-1, -2)).softmax(-1)
        states = weights @ (patterns if left or values is None else values)
    return states


def modern_energy(states: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """Equation 2 without its constant; `(n,)`."""
    energy: Tensor = states.square().sum(-1) / 2 - (beta * states @ patterns.T).logsumexp(-1) / beta
    return energy


class HopfieldLayer(nn.Module):
    """`h + W_o retrieved(W_q norm(h))`, `(batch, width)`, from patterns that are weights, of several heads (their
    HopfieldLayer); with `norm` post `norm(h + W_o retrieved(W_q h))`."""

    feedback_point = True

    def __init__(self, width: int, heads: int, patterns: int, steps: int, beta: float, norm: str, dropout: float):
        super().__init__()
        each = width // heads
        self.heads, self.steps, self.post = heads, steps, norm == "post"
        self.beta = beta or 1 / math.sqrt(each)
        self.norm, self.query, self.out = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.patterns = nn.Parameter(torch.randn(heads, patterns, each))
        self.values = nn.Parameter(torch.randn(heads, patterns, each))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        seen = h if self.post else self.norm(h)
        states = self.query(seen).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (heads, batch, each)
        found = retrieved(states, self.patterns, self.beta, self.steps, self.values).transpose(0, 1).flatten(1)
        out: Tensor = h + self.dropout(self.out(found))
        return self.norm(out) if self.post else out


@register_model("hopfield", family="memory")
def hopfield(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    patterns: int = 32,
    steps: int = 2,
    beta: float = 0.0,
    norm: str = "pre",
    dropout: float = 0.0,
) -> Iterator[nn.Module]:
    """Modern Hopfield network (Ramsauer et al. 2021, arXiv:2008.02217): layers that recall patterns they have learned.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`. A linear block, `depth` layers, a linear head.

    Options: `width` of a state, shared by `heads`; `patterns` stored in every head; `steps` of recall, of which one is
    attention; `beta`, the sharpness of recall, 0: 1 / sqrt(width / heads); `norm` pre or post, of what a layer reads
    or of what it gives; `dropout` in [0, 1).

    >>> len(hopfield((1, 8, 8), 10, depth=3))
    5
    """
    checks.outputs("hopfield", n_outputs)
    for key, value in {"width": width, "depth": depth, "heads": heads, "patterns": patterns, "steps": steps}.items():
        checks.whole(key, value)
    checks.pick(dict.fromkeys(("pre", "post")), "norm", norm)
    checks.fraction("dropout", dropout)
    if width % heads:
        raise ValueError(f"model.heads: {heads} does not divide model.width {width}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"model.beta: must be at least 0, got {beta}")
    flatten = nn.Flatten() if len(in_shape) > 1 else None
    yield sequence(flatten, nn.Linear(math.prod(in_shape), width))
    for _ in range(depth):
        yield HopfieldLayer(width, heads, patterns, steps, beta, norm, dropout)
    yield sequence(nn.LayerNorm(width) if norm == "pre" else None, nn.Linear(width, n_outputs))
