"""Adversarial training: a net learns from the worst examples within reach, which are made at every step.

    min over theta of the mean of  max over |x' - x| <= epsilon of  L(x', y; theta)      Madry et al. 2018, equation 2.1

The inner maximum is approached along the signs of dL/dx at the weights that then learn (Danskin: the gradient of the
maximum in theta is that of L at the x' which attains it), in one step of the whole reach, or in several from a random
start, each time back into reach:

    fgsm   x' = P(x + epsilon sign dL/dx)                             Goodfellow et al. 2015, arXiv 1412.6572, section 4
    pgd    x_0 = P(x + epsilon u), u from -1 to 1;  x_{i+1} = P(x_i + alpha sign dL/dx_i)      Madry et al., section 2.1

and the loss is  clean L(x) + (1 - clean) L(x').  P is the projection onto the inputs that differ from x by at most
epsilon, a share of the range of the training data, in every number, and lie in that range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlocked.schema.keys import AdversaryConfig
from unlocked.schemes.objective import left_alone
from unlocked.seeding import derive_seed, step_seed
from unlocked_models.contract.batch import Batch

if TYPE_CHECKING:
    from unlocked.schemes.base import ModuleLearner


@dataclass(frozen=True)
class Limits:
    """Of a minibatch `x`: between which inputs an attack may move, each `(batch, ...)`, and how far from x it gets.

    `reach` is zero at positions that stay as they are, such as padding.
    """

    low: Tensor
    high: Tensor
    reach: Tensor

    @classmethod
    def around(cls, x: Tensor, epsilon: float, lowest: Tensor, highest: Tensor, free: Tensor | None = None) -> Limits:
        """`epsilon` is a share of the range of each number, from `lowest` to `highest`; of pixels in [0, 1] it is the
        change itself. `free (batch, ...)`: False where nothing may change. Raises no error for x outside the range:
        such a number does not get further out."""
        reach = (epsilon * (highest - lowest)).expand_as(x)
        if free is not None:
            reach = reach * free
        low, high = torch.minimum(lowest.expand_as(x), x), torch.maximum(highest.expand_as(x), x)
        return cls(torch.maximum(low, x - reach), torch.minimum(high, x + reach), reach)

    def project(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.low), self.high)


def value_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of examples `(n, ...)`, each `(1, ...)`: per channel of images, else per
    feature, over all positions of a sequence."""
    over = (0, 2, 3) if x.dim() == 4 else tuple(range(x.dim() - 1)) if x.dim() == 3 else (0,)
    return x.amin(over, keepdim=True), x.amax(over, keepdim=True)


class Adversary:
    """Makes the examples of one replica, `shard = (r, R)`: those of a whole minibatch have the same random starts."""

    def __init__(self, config: AdversaryConfig, seed: int, train: Tensor, shard: tuple[int, int] = (0, 1)):
        self._config, self._seed, self._shard = config, derive_seed(seed, "adversary"), shard
        self._range = value_range(train)

    def teach(self, learner: ModuleLearner, x: Tensor, batch: Batch) -> None:
        """A net of one module, by examples that are made against the very function that learns: with its draws."""
        t, carried, clean = learner.at, learner.carried(), self._config.clean

        def loss_at(moved: Tensor) -> Tensor:
            learner.carry(carried)
            seen = replace(batch, x=moved)
            return learner.objective.loss(learner.passed(t, moved, seen), seen)

        with left_alone(learner.chain):
            worst = self.examples(t, x, loss_at)
        losses, total = list[Tensor](), list[Tensor]()
        for share, inputs in ((1 - clean, worst), (clean, x)):  # streams go on from the last
            if not share:
                continue
            learner.seed_step(t)
            learner.carry(carried)
            seen = replace(batch, x=inputs)
            h, local = learner.run_chain(inputs, seen)
            losses.append(share * learner.objective.loss(h, seen))
            total += [losses[-1]] if local is None else [losses[-1], share * local]
        learner.record("loss", torch.stack(losses).sum())
        torch.stack(total).sum().backward()
        learner.update()

    def examples(self, t: int, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """x' of minibatch t, given the loss `()` as a function of x."""
        config = self._config
        lowest, highest = (bound.to(x) for bound in self._range)
        limits = Limits.around(x, config.epsilon, lowest, highest)
        if config.attack == "fgsm":
            return leap(loss, x, limits)
        replica, replicas = self._shard
        generator = torch.Generator().manual_seed(step_seed(self._seed, t))
        u = 2 * torch.rand(len(x) * replicas, *x.shape[1:], generator=generator)[replica::replicas] - 1
        now = limits.project(x + limits.reach * u.to(x))
        alpha = (config.step or 2.5 / config.steps) * limits.reach
        for each in climb(loss, now, limits, alpha, config.steps):
            now = each
        return now


Loss = Callable[[Tensor], Tensor]  # of a minibatch of inputs: ()


def leap(loss: Loss, x: Tensor, limits: Limits) -> Tensor:
    """FGSM: one step of the whole reach."""
    return limits.project(x + limits.reach * _uphill(loss, x))


def climb(loss: Loss, x: Tensor, limits: Limits, alpha: Tensor, steps: int) -> Iterator[Tensor]:
    """PGD: x_1 to x_steps, in steps of `alpha` from x."""
    for _ in range(steps):
        x = limits.project(x + alpha * _uphill(loss, x))
        yield x


def _uphill(loss: Loss, x: Tensor) -> Tensor:
    """The signs of the loss's gradient at x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(x), x)
    return gradient.sign()
