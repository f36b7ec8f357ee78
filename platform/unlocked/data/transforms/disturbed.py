"""Inputs that are disturbed or mixed, so that a net does not learn each by heart, and targets in units of their own
deviation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from unlocked.data.transform import PerExample, Transform, register_transform
from unlocked.data.transforms.views import moved, no_image
from unlocked_models.contract.batch import Batch, Example


def _no_numbers(example: Example) -> str | None:
    return "needs inputs that are real numbers, and these are ids" if example.vocabulary else None


@register_transform("noise")
class Noise(PerExample):
    """x + `deviation` n, with n normal and drawn anew for every minibatch (Bishop 1995)."""

    changes_x_alone = True

    def __init__(self, deviation: float = 0.1):
        if not 0 <= deviation < math.inf:
            raise ValueError(f"deviation must be at least 0 and finite, got {deviation}")
        self.deviation = deviation

    def refuse(self, example: Example) -> str | None:
        return _no_numbers(example)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        assert batch.x is not None
        return (torch.randn(n, *batch.x.shape[1:], generator=generator),)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        assert batch.x is not None
        return replace(batch, x=batch.x + self.deviation * choices[0].to(batch.x.dtype))


@register_transform("rotate")
class Rotate(PerExample):
    """Turns every image by up to `angle` degrees either way, drawn; zeros come in from outside."""

    changes_x_alone = True

    def __init__(self, angle: float = 15.0):
        if not 0 <= angle <= 180:
            raise ValueError(f"angle must be from 0 to 180 degrees, got {angle}")
        self.angle = angle

    def refuse(self, example: Example) -> str | None:
        return no_image(example)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        return (2 * torch.rand(n, generator=generator) - 1,)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        assert batch.x is not None
        return replace(batch, x=turned(batch.x, self.angle * choices[0].to(batch.x.dtype)))


def turned(x: Tensor, degrees: Tensor) -> Tensor:
    """Images `x (batch, channels, height, width)`, each turned about its centre, against the clock, by `degrees
    (batch,)`; linear between pixels."""
    return moved(x, degrees * (math.pi / 180), torch.ones_like(degrees), degrees.new_zeros(len(x), 2), outside="zeros")


@register_transform("mixup")
class Mixup(Transform):
    """Mixes each example with another of its minibatch (Zhang et al. 2018, arXiv:1710.09412).

        x = l x_i + (1 - l) x_j,    y = l y_i + (1 - l) y_j,    l ~ Beta(alpha, alpha), one for a minibatch

    Classes become distributions `(batch, classes)`; labels and values are mixed as they are.
    """

    def __init__(self, alpha: float = 0.2):
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be greater than 0 and finite, got {alpha}")
        self.alpha = alpha
        self.classes = 0

    def refuse(self, example: Example) -> str | None:
        if example.y_shape and not example.y_real:
            return "mixes a target for each example, and these have one at every position"
        self.classes = example.n_outputs  # which a minibatch does not say
        return _no_numbers(example)

    def prepare(self, train: Batch) -> None:
        if not train.y.is_floating_point():
            self.classes = max(self.classes, int(train.y.max()) + 1)

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        assert batch.x is not None
        seed = int(torch.randint(2**31, (), generator=generator))
        share = float(np.random.default_rng(seed).beta(self.alpha, self.alpha))
        other = torch.randperm(len(batch.y), generator=generator).to(batch.y.device)
        y = batch.y if batch.y.is_floating_point() else F.one_hot(batch.y, self.classes).to(batch.x.dtype)
        return replace(batch, x=share * batch.x + (1 - share) * batch.x[other], y=share * y + (1 - share) * y[other])


@register_transform("standardise")
class Standardise(Transform):
    """Real targets less their mean, over their deviation, both of the training split. Metrics stay in the targets' own
    units; the loss is of what the net gives."""

    evaluates = True

    def __init__(self) -> None:
        self.mean: Tensor | None = None
        self.deviation: Tensor | None = None

    def refuse(self, example: Example) -> str | None:
        return None if example.y_real and len(example.y_shape) == 1 else "needs targets that are real values"

    def prepare(self, train: Batch) -> None:
        deviation, self.mean = torch.std_mean(train.y.double(), dim=0, correction=0)
        self.deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        mean, deviation = self._statistics(batch.y)
        return replace(batch, y=(batch.y - mean) / deviation)

    def undone(self, y: Tensor) -> Tensor:
        """In the units of the data."""
        mean, deviation = self._statistics(y)
        return y * deviation + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.deviation is None:  # shapes alone are asked for
            return like.new_zeros(()), like.new_ones(())
        return self.mean.to(like), self.deviation.to(like)
