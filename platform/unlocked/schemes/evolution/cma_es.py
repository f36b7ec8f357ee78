"""CMA-ES: the covariance of what is drawn adapts to the steps that were successful (Hansen 2016, arXiv:1604.00772)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from unlocked.errors import RunFailed
from unlocked.schemes.evolution.strategy import (
    Genome,
    Trial,
    VectorSpace,
    VectorStrategy,
    default_population,
    register_strategy,
)

MOST_WEIGHTS = 10_000  # of which a covariance is 0.8 GB, and its eigenvectors take minutes


@register_strategy("cma_es")
class CMAES(VectorStrategy):
    """CMA-ES: candidates from a normal distribution whose mean, size and shape adapt; for up to some hundred weights.

    Options: `population`, null: 4 + 3 log n; `sigma`, the deviation that it begins with.
    """

    def __init__(self, space: VectorSpace, population: int | None = None, sigma: float = 0.5):
        from cmaes import CMA

        super().__init__(space)
        size = population or default_population(self.n)
        self._cma: Any = CMA(space.begin.copy(), sigma, population_size=size, seed=0)

    @classmethod
    def unfit(cls, blocks: Sequence[nn.Module]) -> str | None:
        weights = sum(p.numel() for block in blocks for p in block.parameters() if p.requires_grad)
        if weights > MOST_WEIGHTS:
            return (
                f"has {weights:,} weights, and cma_es holds the covariance of all pairs of at most {MOST_WEIGHTS:,}; "
                f"take strategy snes"
            )
        return super().unfit(blocks)

    def ask(self, random: np.random.Generator) -> list[Genome]:
        self._cma.reseed_rng(int(random.integers(2**32)))
        return [self._cma.ask() for _ in range(self._cma.population_size)]

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        try:
            self._cma.tell([(x, trial.loss) for x, trial in zip(candidates, trials, strict=True)])
        except AssertionError:  # weights beyond 1e32
            raise RunFailed("the search has left all numbers; a smaller scheme.strategy.sigma may help") from None

    @property
    def centre(self) -> Genome:
        return self._cma.mean.copy()

    def numbers(self) -> dict[str, float]:
        return {"sigma": float(self._cma._sigma)}
