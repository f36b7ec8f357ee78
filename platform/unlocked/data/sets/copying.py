"""Copy, repeat copy and associative recall: what a network remembers (Graves et al. 2014, arXiv:1410.5401, section 4).

An episode shows symbols, then asks for them. Made, not measured, data: drawn from a fixed seed, the same for every run.

* copy: s_1 .. s_N, a sign, then blanks; the target is nothing while it shows, then s_1 .. s_N;
* repeat copy: the same R times over, where the sign tells R, and then an end;
* associative recall: N items of a few symbols, each after a sign; then one of them between two other signs, and blanks:
  the target is the item that came after it.

Episodes are cut into rows of `window` positions which go on in each other: a network that carries its state over them
is trained by backpropagation through time truncated after `window` steps. `level` sets N and R; `train.curriculum`
raises it when a level is solved (Jaderberg et al. 2017, supplement).
"""

from __future__ import annotations

import math

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.sets.episodes import BLANK, FIRST, MOST_REPEATS, SIGN, Drawn, Wanted, in_rows
from unlocked.data.words.text import EOS, PAD
from unlocked.errors import DataError

ITEM = SIGN + 1  # before each item that is shown
QUERY = SIGN + 2  # before and after the one that is asked about


@register_data("copy", task="language_modelling", family="made")
def copy(
    source: Source,
    level: int = 1,
    window: int | None = None,
    symbols: int = 8,
    episodes: int = 2048,
    mixed: bool = False,
    last: int | None = None,
    test_level: int | None = None,
) -> RawData:
    """N = `level` symbols out of `symbols`, once. `window` null: an episode is one row. `mixed`: training episodes of
    all levels up to `level`; `last`: the level at which a curriculum ends; `test_level`: of the test split, harder."""
    wanted = Wanted(level, window, symbols, episodes, mixed, last, test_level)

    def draw(rng: np.random.Generator, n: int, count: int) -> Drawn:
        return _copied(rng, n, 1, symbols, count, ends=False)

    return in_rows(wanted, lambda n: 2 * n, draw, np.random.default_rng([level, 1, symbols]))


@register_data("repeat_copy", task="language_modelling", family="made")
def repeat_copy(
    source: Source,
    level: int = 1,
    window: int | None = None,
    symbols: int = 8,
    episodes: int = 2048,
    mixed: bool = False,
    last: int | None = None,
    test_level: int | None = None,
) -> RawData:
    """N symbols R times, then an end; N and R grow in turn with the level: 1 x 1, 2 x 1, 2 x 2, 3 x 2, 3 x 3, ...
    Options as of copy."""
    wanted = Wanted(level, window, symbols, episodes, mixed, last, test_level)
    for key, value in (("level", level), ("last", last), ("test_level", test_level)):
        if value is not None and value > 2 * MOST_REPEATS:
            raise DataError(f"data.options.{key}: {value} asks for more than {MOST_REPEATS} repeats")

    def sizes(of: int) -> tuple[int, int]:
        return of // 2 + 1, (of + 1) // 2

    def length(of: int) -> int:
        n, repeats = sizes(of)
        return n + n * repeats + 1

    def draw(rng: np.random.Generator, of: int, count: int) -> Drawn:
        return _copied(rng, *sizes(of), symbols, count, ends=True)

    return in_rows(wanted, length, draw, np.random.default_rng([*sizes(level), symbols]))


@register_data("associative_recall", task="language_modelling", family="made")
def associative_recall(
    source: Source,
    level: int = 1,
    window: int | None = None,
    symbols: int = 8,
    episodes: int = 2048,
    mixed: bool = False,
    last: int | None = None,
    test_level: int | None = None,
    item: int = 3,
) -> RawData:
    """`level` + 1 different items of `item` symbols each; then one of them, which asks for the next. Other options
    as of copy."""
    wanted = Wanted(level, window, symbols, episodes, mixed, last, test_level)
    most = max(level, last or 1, test_level or 1) + 1
    if item < 1:
        raise DataError(f"data.options.item: must be at least 1, got {item}")
    if item * math.log2(symbols) >= 62:  # items are numbered
        raise DataError(
            f"data.options.item: items of {item} of {symbols} symbols are too many to number; at most "
            f"{int(61.9 / math.log2(symbols))}"
        )
    if symbols**item < most:
        raise DataError(
            f"data.options.symbols: {symbols} symbols make {symbols**item} items of {item}, {most} are to differ"
        )

    def draw(rng: np.random.Generator, of: int, count: int) -> Drawn:
        return _recalled(rng, of + 1, item, symbols, count)

    seeds = np.random.default_rng([level, item, symbols])
    return in_rows(wanted, lambda of: (of + 2) * (item + 1) + 1 + item, draw, seeds)


def _copied(rng: np.random.Generator, n: int, repeats: int, symbols: int, count: int, ends: bool) -> Drawn:
    length = n + n * repeats + ends
    shown = FIRST + rng.integers(symbols, size=(count, n))
    x, y = np.full((count, length), BLANK), np.full((count, length), PAD)
    x[:, :n] = shown
    x[:, n] = SIGN + repeats - 1
    y[:, n : n + n * repeats] = np.tile(shown, repeats)
    if ends:
        y[:, -1] = EOS
    return x, y


def _recalled(rng: np.random.Generator, n: int, item: int, symbols: int, count: int) -> Drawn:
    length = (n + 1) * (item + 1) + 1 + item
    x, y = np.full((count, length), BLANK), np.full((count, length), PAD)
    if not count:
        return x, y
    codes = np.stack([rng.choice(symbols**item, n, replace=False) for _ in range(count)])
    shown = FIRST + codes[..., None] // symbols ** np.arange(item) % symbols  # (count, n, item)
    asked = rng.integers(n - 1, size=count)
    listed = np.concatenate([np.full((count, n, 1), ITEM), shown], 2).reshape(count, -1)
    every = np.arange(count)
    x[:, : n * (item + 1)] = listed
    x[:, n * (item + 1)] = x[:, (n + 1) * (item + 1)] = QUERY
    x[:, n * (item + 1) + 1 : (n + 1) * (item + 1)] = shown[every, asked]
    y[:, -item:] = shown[every, asked + 1]
    return x, y
