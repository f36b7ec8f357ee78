"""NSGA-II: several objectives at once, by fronts that no candidate dominates (Deb, Pratap, Agarwal & Meyarivan 2002).

The second objective is a price of the net itself, so a run ends with a front of nets from cheap to good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unlocked.errors import ConfigError
from unlocked.schemes.evolution.neuroevolution import Genetic
from unlocked.schemes.evolution.strategy import Genome, Trial, VectorSpace, register_strategy

PRICES = ("size", "largest")


def fronts(objectives: np.ndarray) -> list[list[int]]:
    """Rows `(n, objectives)`, all to be low, by fronts: those that no row dominates, then those that only rows of the
    first do, and so on. A row dominates another if it is nowhere worse and somewhere better."""
    n = len(objectives)
    no_worse = np.asarray((objectives[:, None] <= objectives[None]).all(2))
    better = np.asarray((objectives[:, None] < objectives[None]).any(2))
    dominates = no_worse & better  # (i, j): i dominates j
    above, left, found = dominates.sum(0), set(range(n)), []
    while left:
        front = sorted(i for i in left if not above[i])
        found.append(front)
        left -= set(front)
        above = above - dominates[front].sum(0)
    return found


def crowding(objectives: np.ndarray) -> np.ndarray:
    """Of the rows of one front `(n, objectives)`: how far the neighbours of each are apart, added over objectives, each
    as a share of its range; infinite at the ends."""
    n = len(objectives)
    out = np.zeros(n)
    for values in objectives.T:
        order = np.argsort(values, kind="stable")
        span = values[order[-1]] - values[order[0]]
        out[order[[0, -1]]] = np.inf
        if n > 2 and span > 0:
            out[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
    return out


def hypervolume(points: np.ndarray, corner: tuple[float, float]) -> float:
    """Of two objectives, the area between the points `(n, 2)` and a `corner` that is worse than all of them."""
    volume, low = 0.0, corner[1]
    for x, y in sorted(map(tuple, points)):
        if x < corner[0] and y < low:
            volume += (corner[0] - x) * (low - y)
            low = y
    return volume


@register_strategy("nsga2")
class NSGA2(Genetic):
    """NSGA-II: a front from nets that are cheap to nets that are good, by loss and by a price of the weights.

    The better half of parents and children lives on: by front, and in the last front that has room by crowding
    distance. Parents are the winners of tournaments of two. `keep: best` is the lowest loss; the whole front is drawn.

    Options: `population`; `price` of a net: size (the mean of |w|) or largest (the greatest |w|); `spread`, the
    deviation of the first candidates; `sigma`, the size of a mutation, and `rate`, the share of weights it changes.
    """

    def __init__(
        self,
        space: VectorSpace,
        population: int = 40,
        price: str = "size",
        spread: float = 1.0,
        sigma: float = 0.1,
        rate: float = 0.3,
    ):
        super().__init__(space, population, spread, sigma, rate, 0.5)
        self._price = price
        self._alive: list[Genome] = []
        self._objectives = np.zeros((0, 2))
        self.corner: tuple[float, float] | None = None  # from the first generation

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        super().check(options)
        if options.get("price", "size") not in PRICES:
            raise ConfigError(f"scheme.strategy.price: must be one of {', '.join(PRICES)}, got {options['price']!r}")

    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        told = np.array([[trial.loss, self._costs(x)] for x, trial in zip(candidates, trials, strict=True)])
        if self.corner is None:
            finite = told[np.isfinite(told[:, 0])]
            self.corner = (float(finite[:, 0].max(initial=0.0)), float(told[:, 1].max()))
        people, objectives = [*self._alive, *candidates], np.concatenate([self._objectives, told])
        ranked, kept, far = fronts(objectives), list[int](), np.zeros(len(people))
        rank = {i: r for r, front in enumerate(ranked) for i in front}
        for front in ranked:
            far[front] = crowding(objectives[front])
            best_first = sorted(front, key=lambda i: (-far[i], i))
            kept += best_first[: self._size - len(kept)]
        self._alive, self._objectives = [people[i] for i in kept], objectives[kept]

        def parent() -> Genome:
            pair = [kept[int(k)] for k in random.integers(len(kept), size=2)]
            return people[min(pair, key=lambda i: (rank[i], -far[i]))]

        self._people = [self._child(parent(), parent(), random) for _ in range(self._size)]

    def _costs(self, x: Genome) -> float:
        size = np.abs(x)
        return float(size.mean() if self._price == "size" else size.max())

    def front(self) -> np.ndarray:
        """Loss and price of those that nobody alive dominates, `(n, 2)`, by loss."""
        found = self._objectives[fronts(self._objectives)[0]]
        return found[np.argsort(found[:, 0], kind="stable")]

    def numbers(self) -> dict[str, float]:
        assert self.corner is not None
        front = self.front()
        return {"front": float(len(front)), "hypervolume": hypervolume(front, self.corner)}

    def figures(self, folder: Path) -> list[Path]:
        from unlocked.drawing import evolved

        if self.corner is None:
            return []
        words = {"size": "mean size of a weight", "largest": "largest weight"}[self._price]
        points = self.front()
        return [evolved.front(points, self.corner, hypervolume(points, self.corner), words, folder / "front.png")]
