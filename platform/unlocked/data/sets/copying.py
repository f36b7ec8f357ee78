"""Copy and repeat copy: how far back a network remembers (Graves et al. 2014, arXiv:1410.5401, section 4).

An episode shows symbols, then asks for them: the input is s_1 .. s_N, a sign, then blanks; the target is nothing while
it shows, then s_1 .. s_N, R times over for repeat copy, where the sign tells R, and then an end. Made, not measured,
data: drawn from a fixed seed, the same for every run.

Episodes are cut into rows of `window` positions which go on in each other: a network that carries its state over them
is trained by backpropagation through time truncated after `window` steps. `level` sets N and R; `train.curriculum`
raises it when a level is solved (Jaderberg et al. 2017, supplement).
"""

from __future__ import annotations

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.source import Source
from unlocked.data.text import EOS, PAD, SPECIAL
from unlocked.errors import DataError

MOST_REPEATS = 16
BLANK = len(SPECIAL)
SIGN = BLANK + 1  # of one repeat; SIGN + r - 1 asks for r
FIRST = SIGN + MOST_REPEATS  # of the symbols
TEST_EPISODES = 256


@register_data("copy", task="language_modelling", family="made")
def copy(source: Source, level: int = 1, window: int | None = None, symbols: int = 8, episodes: int = 2048) -> RawData:
    """N = `level` symbols out of `symbols`, once. `window` null: an episode is one row."""
    return _episodes(level, 1, window, symbols, episodes, ends=False)


@register_data("repeat_copy", task="language_modelling", family="made")
def repeat_copy(
    source: Source, level: int = 1, window: int | None = None, symbols: int = 8, episodes: int = 2048
) -> RawData:
    """N symbols R times, then an end; N and R grow in turn with the level: 1 x 1, 2 x 1, 2 x 2, 3 x 2, 3 x 3, ..."""
    if level < 1:
        raise DataError(f"data.options.level: must be at least 1, got {level}")
    if level > 2 * MOST_REPEATS:
        raise DataError(f"data.options.level: {level} asks for more than {MOST_REPEATS} repeats")
    return _episodes(level // 2 + 1, (level + 1) // 2, window, symbols, episodes, ends=True)


def _episodes(n: int, repeats: int, window: int | None, symbols: int, episodes: int, ends: bool) -> RawData:
    given = {"level": n, "symbols": symbols, "episodes": episodes, "window": 1 if window is None else window}
    for key, value in given.items():
        if value < 1:
            raise DataError(f"data.options.{key}: must be at least 1, got {value}")
    length = n + n * repeats + ends
    window = window or length
    rows = -(-length // window)  # of an episode
    rng = np.random.default_rng([n, repeats, symbols])

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        shown = FIRST + rng.integers(symbols, size=(count, n))
        x = np.full((count, rows * window), PAD)
        y = np.full((count, rows * window), PAD)
        x[:, :n] = shown
        x[:, n:length] = BLANK
        x[:, n] = SIGN + repeats - 1
        y[:, n : n + n * repeats] = np.tile(shown, repeats)
        if ends:
            y[:, length - 1] = EOS
        return x.reshape(-1, window), y.reshape(-1, window)

    tokens = [*SPECIAL, "_", *(f"x{r + 1}" for r in range(MOST_REPEATS)), *(chr(ord("a") + i) for i in range(symbols))]
    return RawData(*draw(episodes), *draw(TEST_EPISODES), symbols=tokens, ordered=True, stretch=rows)
