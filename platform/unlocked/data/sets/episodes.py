"""Episodes of tasks that ask what a network remembers: made at a level of difficulty, cut into rows of one length.

What they share: tokens, levels (`train.curriculum` raises them), and a test split that may be harder than all that was
trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unlocked.data.dataset import RawData
from unlocked.data.words.text import PAD, SPECIAL
from unlocked.errors import DataError

MOST_REPEATS = 16
BLANK = len(SPECIAL)
SIGN = BLANK + 1  # of one repeat; SIGN + r - 1 asks for r
FIRST = SIGN + MOST_REPEATS  # of the symbols
TEST_EPISODES = 256
MOST_SYMBOLS = 10_000  # each has a letter
MOST_NUMBERS = 10**9  # of a split

Drawn = tuple[np.ndarray, np.ndarray]  # inputs and targets, (episodes, positions) each


@dataclass(frozen=True)
class Wanted:
    """What a configuration may ask of such a data set.

    `mixed`: training episodes are of all levels up to `level`, each as often. `last`: the level at which a curriculum
    ends. `test_level`: of the test split, not below `level`; all rows are as long as its episodes need.
    """

    level: int
    window: int | None
    symbols: int
    episodes: int
    mixed: bool
    last: int | None
    test_level: int | None

    def __post_init__(self) -> None:
        for key in ("level", "symbols", "episodes", "window", "last", "test_level"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise DataError(f"data.options.{key}: must be at least 1, got {value}")
        if self.symbols > MOST_SYMBOLS:
            raise DataError(f"data.options.symbols: must be at most {MOST_SYMBOLS}, got {self.symbols}")
        if self.last is not None and self.level > self.last:
            raise DataError(f"data.options.last: {self.last} is the last level, got level {self.level}")
        if self.test_level is not None and self.level > self.test_level:
            raise DataError(
                f"data.options.test_level: {self.test_level} is below the level of the training split, {self.level}"
            )
        if self.last is not None and self.test_level is not None and self.last > self.test_level:
            raise DataError(
                f"data.options.last: {self.last} is above data.options.test_level {self.test_level}, which says how "
                f"long rows are; raise test_level, or lower last"
            )

    @property
    def tested_on(self) -> str | None:
        """Of a test split that is harder than the training split, both and what chance is worth."""
        if self.test_level in (None, self.level):
            return None
        trained = f"levels up to {self.level}" if self.mixed else f"level {self.level}"
        chance = f"chance about {1 / self.symbols:.3g}"
        return f"level {self.test_level}, harder than all that was trained on ({trained}; {chance})"


def in_rows(
    wanted: Wanted,
    length: Callable[[int], int],
    draw: Callable[[np.random.Generator, int, int], Drawn],
    rng: np.random.Generator,
) -> RawData:
    """The splits: `length(level)` positions of an episode, `draw(rng, level, count)` makes some."""
    asked = wanted.test_level or wanted.level
    longest = length(asked)
    window = wanted.window or longest
    rows = -(-longest // window)  # of an episode
    for key, count in (("test_level" if wanted.test_level else "level", TEST_EPISODES), ("episodes", wanted.episodes)):
        if count * rows * window > MOST_NUMBERS:
            raise DataError(
                f"data.options.{key}: {count} episodes of {longest} positions are more than {MOST_NUMBERS:,} numbers"
            )

    def cut(x: np.ndarray, y: np.ndarray) -> Drawn:
        filling = ((0, 0), (0, rows * window - x.shape[1]))
        return np.pad(x, filling, constant_values=PAD).reshape(-1, window), np.pad(y, filling).reshape(-1, window)

    def train() -> Drawn:
        if not wanted.mixed:
            return cut(*draw(rng, wanted.level, wanted.episodes))
        levels = rng.integers(1, wanted.level + 1, size=wanted.episodes)
        x, y = (np.full((len(levels), rows, window), PAD) for _ in range(2))
        for level in range(1, wanted.level + 1):
            here = levels == level
            for part, made in zip((x, y), cut(*draw(rng, level, int(here.sum()))), strict=True):
                part[here] = made.reshape(-1, rows, window)
        return x.reshape(-1, window), y.reshape(-1, window)

    tokens = [*SPECIAL, "_", *(f"x{r + 1}" for r in range(MOST_REPEATS))]
    tokens += [chr(ord("a") + i) for i in range(wanted.symbols)]
    made = train()  # before the test split: both are drawn from one generator
    test = cut(*draw(rng, asked, TEST_EPISODES))
    return RawData(*made, *test, symbols=tokens, ordered=True, stretch=rows, tested_on=wanted.tested_on)
