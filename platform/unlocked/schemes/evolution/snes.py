"""SNES: separable natural evolution strategies (Schaul, Glasmachers and Schmidhuber 2011, algorithm 2)."""

from __future__ import annotations

import math

import numpy as np

from unlocked.schemes.evolution.strategy import (
    Genome,
    Trial,
    VectorSpace,
    VectorStrategy,
    default_population,
    ranking,
    register_strategy,
)


def utilities(size: int) -> np.ndarray:
    """Of the candidates of a generation, the best first: they sum to zero, and half of them are equal."""
    raw = np.maximum(0.0, math.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    out: np.ndarray = raw / raw.sum() - 1 / size
    return out


@register_strategy("snes")
class SNES(VectorStrategy):
    """SNES: a normal distribution with a deviation for each weight follows the natural gradient; for many weights.

    Options: `population`, null: 4 + 3 log n; `sigma`, the deviation that it begins with; `rate` of the deviations,
    null: (3 + log n) / (5 sqrt n).
    """

    def __init__(
        self, space: VectorSpace, population: int | None = None, sigma: float = 0.5, rate: float | None = None
    ):
        super().__init__(space)
        self._size = population or default_population(self.n)
        self._mean = space.begin.copy()
        self._sigma = np.full(self.n, sigma)
        self._rate = rate or (3 + math.log(self.n)) / (5 * math.sqrt(self.n))

    def ask(self, random: np.random.Generator) -> list[Genome]:
        return [self._mean + self._sigma * s for s in random.standard_normal((self._size, self.n))]

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        best_first = np.array([candidates[i] for i in ranking(trials)])
        s, u = (best_first - self._mean) / self._sigma, utilities(self._size)
        self._mean = self._mean + self._sigma * (u @ s)
        self._sigma = self._sigma * np.exp(self._rate / 2 * (u @ (s**2 - 1)))

    @property
    def centre(self) -> Genome:
        return self._mean.copy()

    def numbers(self) -> dict[str, float]:
        return {"sigma": float(self._sigma.mean())}
