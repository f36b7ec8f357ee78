"""What in an input a class rests on: saliency and integrated gradients.

Saliency (Simonyan et al. 2013, arXiv:1312.6034, section 3) is |dF_c/dx|, F_c the logit of class c. Integrated gradients
(Sundararajan et al. 2017, arXiv:1703.01365, equation 1) go along the straight line from a baseline x' to x,

    IG_i = (x_i - x'_i) integral_0^1 dF_c(x' + a (x - x')) / dx_i da

and are complete: their sum is F_c(x) - F_c(x'). The integral is a sum over the middles of equal steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
STEPS = 64


def gradient(logits: Logits, x: Tensor, classes: Tensor) -> Tensor:
    """dF_c/dx of each example's class `classes (batch,)`, like x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        chosen = logits(x).gather(1, classes[:, None]).sum()
    (found,) = torch.autograd.grad(chosen, x)
    return found


def saliency(logits: Logits, x: Tensor, classes: Tensor) -> Tensor:
    """|dF_c/dx|, like x."""
    return gradient(logits, x, classes).abs()


def integrated_gradients(
    logits: Logits, x: Tensor, baseline: Tensor, classes: Tensor, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """IG, like x, and by how much each example's sum misses F_c(x) - F_c(baseline), `(batch,)`: zero for infinitely
    many steps."""
    away = x - baseline
    mean = torch.zeros_like(x)
    for i in range(steps):
        mean += gradient(logits, baseline + (i + 0.5) / steps * away, classes) / steps
    found = away * mean
    with torch.no_grad():
        ends = [logits(at).gather(1, classes[:, None])[:, 0] for at in (x, baseline.expand_as(x))]
    return found, found.flatten(1).sum(1) - (ends[0] - ends[1])
