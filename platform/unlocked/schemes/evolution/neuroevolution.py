"""Genetic search among weights: conventional neuroevolution, and CoSyNE, which evolves every weight in a population of
its own.

    Gomez, Schmidhuber and Miikkulainen 2008, "Accelerated Neural Evolution through Cooperatively Coevolved Synapses"
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unlocked.errors import ConfigError
from unlocked.schemes.evolution.strategy import Genome, Trial, VectorSpace, VectorStrategy, ranking, register_strategy


class Genetic(VectorStrategy):
    """Base of those whose candidates are the children of some of the last ones. A subclass gives `tell`."""

    def __init__(self, space: VectorSpace, population: int, spread: float, sigma: float, rate: float, parents: float):
        super().__init__(space)
        self._size, self._spread, self._sigma, self._rate = population, spread, sigma, rate
        self._n_parents = max(2, round(parents * population))
        self._people: list[Genome] = []

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        super().check(options)
        for name in ("parents", "rate"):
            if name in options and not 0 < options[name] <= 1:
                raise ConfigError(f"scheme.strategy.{name}: must be above 0 and at most 1, got {options[name]}")
        if options.get("population", 4) < 4:
            raise ConfigError(f"scheme.strategy.population: must be at least 4, got {options['population']}")

    def ask(self, random: np.random.Generator) -> list[Genome]:
        """First of all around the weights that the search begins with."""
        if not self._people:
            drawn = self._spread * random.standard_normal((self._size, self.n))
            drawn[0] = 0.0
            self._people = [self.space.begin + each for each in drawn]
        return [one.copy() for one in self._people]

    def _child(self, one: Genome, other: Genome, random: np.random.Generator) -> Genome:
        """Weights of either parent, some of them changed by Cauchy noise, whose steps are small and seldom large."""
        child = np.where(random.random(self.n) < 0.5, one, other)
        changed = random.random(self.n) < self._rate
        return child + changed * self._sigma * random.standard_cauchy(self.n)


@register_strategy("cne")
class CNE(Genetic):
    """Conventional neuroevolution: the best are kept, their children take the place of the others.

    Options: `population`; `spread`, the deviation of the first candidates; `sigma`, the size of a mutation, and
    `rate`, the share of weights it changes; `parents`, the share of candidates that have children; `elite`, how many
    of the best stay as they are.
    """

    def __init__(
        self,
        space: VectorSpace,
        population: int = 40,
        spread: float = 1.0,
        sigma: float = 0.3,
        rate: float = 0.3,
        parents: float = 0.25,
        elite: int = 2,
    ):
        super().__init__(space, population, spread, sigma, rate, parents)
        self._elite = elite

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        super().check(options)
        if not 0 <= options.get("elite", 0) < options.get("population", 40):
            raise ConfigError(f"scheme.strategy.elite: must be from 0 to below population, got {options['elite']}")

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        best = [candidates[i] for i in ranking(trials)[: self._n_parents]]
        children = []
        for _ in range(self._size - min(self._elite, len(best))):
            one, other = random.integers(len(best), size=2)
            children.append(self._child(best[one], best[other], random))
        self._people = [*best[: self._elite], *children]


@register_strategy("cosyne")
class CoSyNE(Genetic):
    """CoSyNE: a population for every weight; a candidate is one member of each, and bad ones are put together anew.

    Gomez et al. 2008, algorithm 1. The children of the best `parents` take the places of as many of the worst. Then
    every weight of candidate j changes its place, among those of its population that do, with probability
    1 - ((f_j - f_worst) / (f_best - f_worst))^(1/n), and that of a child with probability 1. The best stays.

    Options: `population`; `spread`, the deviation of the first candidates; `sigma`, the size of a mutation, and
    `rate`, the share of weights it changes; `parents`.
    """

    def __init__(
        self,
        space: VectorSpace,
        population: int = 40,
        spread: float = 1.0,
        sigma: float = 0.3,
        rate: float = 0.3,
        parents: float = 0.25,
    ):
        super().__init__(space, population, spread, sigma, rate, parents)

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        order = ranking(trials)
        people = np.array([candidates[i] for i in order])  # (population, n), the best first
        moves = moving([trials[i].loss for i in order], self.n)
        number = min(self._n_parents, self._size - self._n_parents)
        for k in range(number):
            one, other = random.integers(self._n_parents, size=2)
            people[self._size - number + k] = self._child(people[one], people[other], random)
        moves[self._size - number :] = 1.0
        for i in range(self.n):
            places = np.flatnonzero(random.random(self._size) < moves)
            people[places, i] = people[random.permutation(places), i]
        self._people = list(people)


def moving(losses: list[float], n: int) -> np.ndarray:
    """With which probability a weight of each candidate changes its place; of the best first."""
    given = np.array(losses)
    finite = given[np.isfinite(given)]
    if not len(finite) or finite[-1] == finite[0]:
        out = np.ones(len(given))
    else:
        share = np.clip((finite[-1] - given) / (finite[-1] - finite[0]), 0.0, 1.0)
        out = 1.0 - share ** (1.0 / n)
    out[0] = 0.0
    return out
