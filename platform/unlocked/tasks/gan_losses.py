"""What a generator and a discriminator minimise, by name: functions of the discriminator's outputs `(batch, 1)`.

    nonsaturating   D: -log D(x) - log(1 - D(G(z)))      G: -log D(G(z))          Goodfellow et al. 2014
    minimax         the same                             G: log(1 - D(G(z)))
    wasserstein     D: D(G(z)) - D(x) + penalty          G: -D(G(z))              Gulrajani et al. 2017

The penalty of the last (arXiv:1704.00028, eq. 3) is weight * (|dD/dx| - 1)^2 at images between real and made ones, each
on the straight line between two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.errors import ConfigError
from unlocked.tasks.phases import Function
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import unknown

Loss = Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True)
class Losses:
    """`real` and `made` of the discriminator, `fooled` of the generator; `penalty` is the weight of that, 0: none."""

    real: Loss
    made: Loss
    fooled: Loss
    penalty: float = 0.0


LOSSES = ("nonsaturating", "minimax", "wasserstein")


def losses(name: str, smoothing: float | None, penalty: float | None) -> Losses:
    """Raises `ConfigError` for what is not known or does not go together."""
    if name not in LOSSES:
        raise ConfigError(f"objective.loss: {unknown('loss', name, LOSSES)}")
    if smoothing is not None and not 0 <= smoothing < 1:
        raise ConfigError(f"objective.smoothing: must be at least 0 and less than 1, got {smoothing}")
    if penalty is not None and penalty <= 0:
        raise ConfigError(f"objective.penalty: must be greater than 0, got {penalty}")
    if name == "wasserstein":
        if smoothing:
            raise ConfigError("objective.smoothing: wasserstein has no labels to smooth; leave it out")
        return Losses(scored(-1.0), scored(1.0), scored(-1.0), 10.0 if penalty is None else penalty)
    if penalty is not None:
        raise ConfigError(f"objective.penalty: it keeps the slope of wasserstein's discriminator; {name} has none")
    fooled = says(1.0) if name == "nonsaturating" else not_caught
    return Losses(says(0.9 if smoothing is None else 1 - smoothing), says(0.0), fooled)


def says(real: float) -> Loss:
    """The cross entropy of the discriminator's logits `(batch, 1)`, if its images are real with this probability."""
    return lambda logits, batch: F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


def not_caught(logits: Tensor, batch: Batch) -> Tensor:
    """The mean of log(1 - D) over made images, which the minimax generator lowers; flat where D is sure of itself."""
    return -says(0.0)(logits, batch)


def scored(sign: float) -> Loss:
    """The mean of the discriminator's outputs, of this sign."""
    return lambda scores, batch: sign * scores.mean()


def with_real(feed: Callable[[Batch, torch.Generator], Batch]) -> Callable[[Batch, torch.Generator], Batch]:
    """A feed that also has the real images, and where between them and the made ones each is looked at."""

    def fed(batch: Batch, generator: torch.Generator) -> Batch:
        real = batch.x
        assert real is not None
        share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator).to(real)
        made = feed(batch, generator)
        return replace(made, extras={**made.extras, "real": real, "share": share})

    return fed


def slope_penalty(weight: float) -> Callable[[Function, Tensor, Batch], Tensor]:
    """Of the discriminator as a function, and made images beside those of `with_real`."""

    def penalty(discriminator: Function, made: Tensor, batch: Batch) -> Tensor:
        between = batch["share"] * batch["real"] + (1 - batch["share"]) * made
        between = between.detach().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
        length = (slope.flatten(1).square().sum(1) + 1e-24).sqrt()  # a slope at 0 would have no derivative
        loss: Tensor = weight * (length - 1).square().mean()
        return loss

    return penalty
