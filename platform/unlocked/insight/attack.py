"""Adversarial examples: inputs changed by at most epsilon so that a classifier errs.

FGSM (Goodfellow et al. 2015, arXiv:1412.6572, section 4) goes as far as it may in one step,

    x' = P(x + epsilon sign dL/dx)

and PGD (Madry et al. 2018, arXiv:1706.06083, section 2.1) takes smaller ones from a random start, each time back into
reach: x_{i+1} = P(x_i + alpha sign dL/dx_i), alpha = 2.5 epsilon / steps. P is the projection onto the inputs that
differ from x by at most epsilon in every number and lie in the range of the data. L is the cross entropy of the true
class; with a target, minus that of the target. What counts as PGD's example is the one with the worst margin of x,
FGSM's example and all iterates: the most that is known to an attacker who has the gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from unlocked.schemes.adversary import Limits, Loss, climb, leap

Logits = Callable[[Tensor], Tensor]  # of a minibatch of inputs: (batch, classes)
STEPS = 10


def fgsm(logits: Logits, x: Tensor, y: Tensor, limits: Limits, target: int | None = None) -> Tensor:
    """One step of the whole reach."""
    return leap(_loss(logits, y, target), x, limits)


def pgd(
    logits: Logits,
    x: Tensor,
    y: Tensor,
    limits: Limits,
    target: int | None = None,
    *,
    steps: int = STEPS,
    generator: Generator | None = None,
) -> Tensor:
    """Many steps; the start is drawn from `generator`, and is x itself without one."""
    candidates = [x, fgsm(logits, x, y, limits, target)]
    alpha, now = 2.5 * limits.reach / steps, x
    if generator is not None:
        now = limits.project(x + limits.reach * (2 * torch.rand(x.shape, generator=generator).to(x) - 1))
    candidates += climb(_loss(logits, y, target), now, limits, alpha, steps)
    margins = torch.stack([_margin(logits, each, y, target) for each in candidates])  # (candidates, batch)
    return torch.stack(candidates)[margins.argmax(0), torch.arange(len(x), device=x.device)]


def noise(logits: Logits, x: Tensor, y: Tensor, limits: Limits, *, generator: Generator) -> Tensor:
    """The control: a step of the whole reach whose signs are drawn."""
    sign = 2.0 * torch.randint(0, 2, x.shape, generator=generator).to(x) - 1
    return limits.project(x + limits.reach * sign)


ATTACKS = ("noise", "fgsm", "pgd")


def make(
    attack: str,
    logits: Logits,
    x: Tensor,
    y: Tensor,
    limits: Limits,
    target: int | None,
    steps: int,
    generator: Generator,
) -> Tensor:
    """By its name."""
    if attack == "noise":
        return noise(logits, x, y, limits, generator=generator)
    if attack == "fgsm":
        return fgsm(logits, x, y, limits, target)
    return pgd(logits, x, y, limits, target, steps=steps, generator=generator)


def _loss(logits: Logits, y: Tensor, target: int | None) -> Loss:
    """What an attack makes larger."""
    if target is None:
        return lambda x: F.cross_entropy(logits(x), y, reduction="sum")
    return lambda x: -F.cross_entropy(logits(x), torch.full_like(y, target), reduction="sum")


@torch.no_grad()
def _margin(logits: Logits, x: Tensor, y: Tensor, target: int | None) -> Tensor:
    """By how much the attack has won, `(batch,)`: the best other logit above the true one, or the target's above all
    others; positive if it has."""
    out = logits(x)
    at = (y if target is None else torch.full_like(y, target))[:, None]
    own = out.gather(1, at)[:, 0]
    others = out.scatter(1, at, -torch.inf).amax(1)
    return others - own if target is None else own - others
