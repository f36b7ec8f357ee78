"""Novelty search: what has not been done before is worth most, whatever its loss (Lehman & Stanley 2011).

novelty(x) = mean distance of what x did to its k nearest neighbours, among this generation and an archive
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unlocked.errors import ConfigError
from unlocked.schemes.evolution.neuroevolution import CNE
from unlocked.schemes.evolution.strategy import Genome, Trial, VectorSpace, register_strategy


def novelties(behaviours: np.ndarray, archive: np.ndarray, k: int) -> np.ndarray:
    """Of each row `(n, d)`; a row is no neighbour of itself."""
    others = np.concatenate([behaviours, archive])
    apart = np.sqrt(((behaviours[:, None] - others[None]) ** 2).sum(2))
    apart[np.arange(len(behaviours)), np.arange(len(behaviours))] = np.inf
    nearest = np.sort(apart, axis=1)[:, : min(k, len(others) - 1)]
    out: np.ndarray = nearest.mean(1)
    return out


@register_strategy("novelty")
class Novelty(CNE):
    """Novelty search: nets that do what none did before have children; for tasks whose loss leads astray.

    What a net does is its outputs on the minibatch; of a task that acts, the last observation of each episode. The best
    loss that was met on the way is kept all the same (`scheme.keep: best`).

    Options: those of cne, and `nearest`, the neighbours that are measured to; `archive`, how many of the most novel of
    a generation are remembered; `goal`, the share of the loss in what counts, 0: novelty alone.
    """

    looks: ClassVar[bool] = True

    def __init__(
        self,
        space: VectorSpace,
        population: int = 40,
        spread: float = 1.0,
        sigma: float = 0.3,
        rate: float = 0.3,
        parents: float = 0.25,
        elite: int = 2,
        nearest: int = 10,
        archive: int = 2,
        goal: float = 0.0,
    ):
        super().__init__(space, population, spread, sigma, rate, parents, elite)
        self._nearest, self._adds, self._goal = nearest, archive, goal
        self._archive: list[tuple[float, ...]] = []
        self._novelty = 0.0

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        super().check(options)
        for name, least in (("nearest", 1), ("archive", 0)):
            if options.get(name, least) < least:
                raise ConfigError(f"scheme.strategy.{name}: must be at least {least}, got {options[name]}")
        if not 0 <= options.get("goal", 0.0) <= 1:
            raise ConfigError(f"scheme.strategy.goal: must be from 0 to 1, got {options['goal']}")

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        did = np.nan_to_num(np.array([trial.behaviour for trial in trials]))
        archive = np.array(self._archive).reshape(-1, did.shape[1])
        novelty = novelties(did, archive, self._nearest)
        order = np.argsort(-novelty, kind="stable")
        self._archive += [tuple(did[i].tolist()) for i in order[: self._adds]]
        self._novelty = float(novelty.mean())
        ranks = np.empty(len(trials))
        ranks[order] = np.arange(len(trials))
        by_loss = np.empty(len(trials))
        by_loss[np.argsort([trial.loss for trial in trials], kind="stable")] = np.arange(len(trials))
        worth = (1 - self._goal) * ranks + self._goal * by_loss
        super().tell(candidates, [Trial(float(each)) for each in worth], random)

    def numbers(self) -> dict[str, float]:
        return {"novelty": self._novelty, "archive": float(len(self._archive))}
