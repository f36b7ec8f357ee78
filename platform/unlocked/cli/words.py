"""Numbers for the eye: a line of small bars, and a word on what an alignment or a wait means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
WIDTH = 24  # bars
FEW = 4  # modules, each of which is named
# the least cosine of each word
_ALIGNMENT = (
    (0.9, "follows backprop"),
    (0.5, "close to backprop"),
    (0.2, "downhill, by a detour"),
    (0.05, "barely downhill"),
    (-0.05, "no relation to the true gradient"),
    (-math.inf, "against the true gradient"),
)
BUSY, WAITING = 0.1, 0.5  # shares of the time
PACE = 0.15  # by so much less does a module wait that sets the pace


def spark(values: Sequence[float], width: int = WIDTH, plain: bool = False) -> str:
    """Finite values as bars, the lowest as the smallest one; of more than `width` the mean of neighbours.

    >>> spark([3.0, 2.0, 1.0])
    '█▄▁'
    >>> spark([1.0, 1.0]), spark([])
    ('▁▁', '')
    """
    finite = [value for value in values if math.isfinite(value)]
    count = min(width, len(finite))
    cuts = [round(i * len(finite) / count) for i in range(count + 1)] if count else [0]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    if not means:
        return ""
    low, span, bars = min(means), max(means) - min(means), PLAIN_BARS if plain else BARS
    return "".join(bars[int((value - low) / span * (len(bars) - 1)) if span > 0 else 0] for value in means)


def alignment(cosines: Mapping[int, float]) -> str:
    """Each module's cosine between the gradient that it follows and the true one, and a word on the lowest.

    >>> alignment({0: 0.42, 1: 0.95}), alignment({0: 0.95})
    ('0: +0.42  1: +0.95  (module 0: downhill, by a detour)', 'module 0: +0.95  (follows backprop)')
    """
    known = {module: value for module, value in cosines.items() if math.isfinite(value)}
    if not known:
        return ""
    lowest = min(known, key=lambda module: known[module])
    word = next(word for least, word in _ALIGNMENT if known[lowest] >= least)
    if len(known) == 1:
        return f"module {lowest}: {known[lowest]:+.2f}  ({word})"
    return f"{_each(known, '+.2f')}  (module {lowest}: {word})"


def waiting(shares: Sequence[float]) -> str:
    """Each module's share of the time that it waits for others, and a word on what that says.

    >>> waiting([0.62, 0.05])
    '0: 62%  1: 5%  (module 1 sets the pace)'
    """
    if not shares:
        return ""
    least = min(range(len(shares)), key=lambda module: shares[module])
    apart = max(shares) - shares[least]
    if max(shares) < BUSY:
        word = "they hardly wait"
    elif apart > PACE:
        word = f"module {least} sets the pace"
    elif min(shares) > WAITING:
        word = "mostly waiting: for messages, or locked to each other"
    else:
        word = "all wait about as long"
    return f"{_each(dict(enumerate(shares)), '.0%')}  ({word})"


def steps_a_second(rate: float) -> str:
    """As two digits below ten, where 0 would say that nothing moves.

    >>> steps_a_second(1234.5), steps_a_second(4.56), steps_a_second(0.041)
    ('1234 steps/s', '4.6 steps/s', '0.041 steps/s')
    """
    return f"{rate:.0f} steps/s" if rate >= 9.5 else f"{rate:.2g} steps/s"


def _each(values: Mapping[int, float], form: str) -> str:
    if len(values) <= FEW:
        return "  ".join(f"{module}: {value:{form}}" for module, value in values.items())
    low, high = (pick(values, key=lambda module: values[module]) for pick in (min, max))
    return f"{len(values)} modules, {low}: {values[low]:{form}} to {high}: {values[high]:{form}}"
