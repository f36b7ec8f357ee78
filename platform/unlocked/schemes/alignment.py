"""How the gradients that a scheme injects stand to the true ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Alignment(NamedTuple):
    """Injected gradients g against the true ones d at the same points, means over the points of a module."""

    cosine: float  # of the whole minibatch flattened: examples count by the size of their gradients
    per_example: float  # the mean over examples whose true gradient is not zero: each counts the same
    norm_ratio: float  # |g| / |d| of the whole minibatch: a cosine is blind to scale


def align(g: Tensor, d: Tensor) -> Alignment:
    """Of one point, `(batch, ...)`; d is not zero."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:  # torch's takes norms below 1e-8 as that: gradients may be smaller
        norms = a.norm(dim=-1) * b.norm(dim=-1)
        return torch.where(norms > 0, (a * b).sum(-1) / norms, 0.0)

    g, d = g.flatten(1).double(), d.flatten(1).double()
    learns = d.any(1)
    return Alignment(
        float(cosine(g.flatten(), d.flatten())), float(cosine(g[learns], d[learns]).mean()), float(g.norm() / d.norm())
    )
