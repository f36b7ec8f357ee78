"""Adversarial training of a generator and a discriminator on images with classes (Goodfellow et al. 2014).

    discriminator:  minimise  -s log D(x, c) - (1 - s) log(1 - D(x, c)) - log(1 - D(G(z, c), c)),   s = 0.9
    generator:      minimise  -log D(G(z, c), c)                             (the non-saturating loss)

with one-sided label smoothing s (Salimans et al. 2016, arXiv:1606.03498). dL/dG(z, c) is exact under every scheme: the
error of D is one number per example, and random feedback of it at the image would push all images along one direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.tasks.base import TASKS, Rows, Task, register_task
from unlocked.tasks.judge import judge_of, likeness
from unlocked.tasks.phases import Phase, as_it_is
from unlocked_models.contract.batch import Batch, Example

SMOOTHED = 0.9
GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@register_task("adversarial")
class Adversarial(Task):
    """Evaluated are images of the classes of a split, one for each of its examples."""

    monitor = "frechet"
    higher_is_better = False
    nets = (GENERATOR, DISCRIMINATOR)
    also: ClassVar[tuple[str, ...]] = ("asked", "classes", "variance")
    refuses: ClassVar[dict[str, str]] = {
        "local": "a generator's targets are what a discriminator says, and a discriminator's are not the classes"
    }

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if TASKS.get(data_task).by_class and example.vocabulary is None:
            return None
        return f"it makes real numbers, such as images, of asked classes; its examples are for {data_task}"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def phases(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Phase]:
        makes, both = latents(shapes[GENERATOR]), (GENERATOR, DISCRIMINATOR)
        return [
            Phase("real", (DISCRIMINATOR,), as_it_is, says(SMOOTHED), (DISCRIMINATOR,), update=False),
            Phase("fake", both, makes, says(0.0), (DISCRIMINATOR,)),
            Phase("generator", both, makes, says(1.0), (GENERATOR,)),
        ]

    def outcome(self, shapes: Mapping[str, tuple[int, ...]]) -> Phase:
        return Phase("images", (GENERATOR,), latents(shapes[GENERATOR]), says(1.0))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("every phase has a loss of its own")

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        raise AssertionError("made images are measured against a split: `measure`")

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        real: Any = getattr(data, split)
        return likeness(judge_of(data), kept, real.x, real.y)

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return F.one_hot(rows.y, example.n_outputs).to(like.dtype)


def says(real: float) -> Callable[[Tensor, Batch], Tensor]:
    """The cross entropy of the discriminator's logits `(batch, 1)`, if its images are real with this probability."""
    return lambda logits, batch: F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


def latents(shape: tuple[int, ...]) -> Callable[[Batch, torch.Generator], Batch]:
    """In the place of x, z `(batch, *shape)`, standard normal."""

    def feed(batch: Batch, generator: torch.Generator) -> Batch:
        like = batch.x
        assert like is not None
        return replace(batch, x=torch.randn(len(like), *shape, generator=generator).to(like))

    return feed
