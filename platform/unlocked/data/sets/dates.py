"""Dates as people write them and as ISO 8601 does: a translation that is made, so every answer is known.

Drawn from a fixed seed, the same for every run: days of three centuries, each written in one of several ways. Words
mean different things in different places ("twenty" of a day or of a year, 3 of a day or of a month), so a decoder
needs more than the word that it looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.words.pairs import ended
from unlocked.data.words.text import SPECIAL
from unlocked.errors import DataError

FIRST, LAST = date(1800, 1, 1), date(2099, 12, 31)
TEST_PAIRS = 1000
LONGEST = 10  # tokens of a written date: Tuesday, September twenty third, 1847

_ONES = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
    "twenty": "twentieth",
    "thirty": "thirtieth",
}
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def number_words(n: int) -> list[str]:
    """0 to 99 in words.

    >>> number_words(42)
    ['forty', 'two']
    """
    if n < 20:
        return [_ONES[n]]
    return [_TENS[n // 10 - 2], *([_ONES[n % 10]] if n % 10 else [])]


def ordinal_words(n: int) -> list[str]:
    *tens, last = number_words(n)
    return [*tens, _ORDINALS.get(last, last + "th")]


def year_words(year: int) -> list[str]:
    """As it is said: nineteen eighty four, nineteen oh four, nineteen hundred, two thousand four."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return ["two", "thousand", *(number_words(rest) if rest else [])]
    if rest == 0:
        return [*number_words(century), "hundred"]
    return [*number_words(century), *(["oh"] if rest < 10 else []), *number_words(rest)]


WAYS: list[Callable[[date], list[str]]] = [
    lambda d: [str(d.day), _MONTHS[d.month - 1], *str(d.year)],
    lambda d: [_MONTHS[d.month - 1], str(d.day), ",", *str(d.year)],
    lambda d: [_WEEKDAYS[d.weekday()], ",", _MONTHS[d.month - 1], *ordinal_words(d.day), ",", *str(d.year)],
    lambda d: [str(d.day), ".", str(d.month), ".", *str(d.year)],
    lambda d: [str(d.month), "/", str(d.day), "/", *str(d.year)],
    lambda d: ["the", *ordinal_words(d.day), "of", _MONTHS[d.month - 1], *year_words(d.year)],
    lambda d: [_WEEKDAYS[d.weekday()], "the", *ordinal_words(d.day), "of", _MONTHS[d.month - 1], *year_words(d.year)],
    lambda d: [*year_words(d.year), ",", _MONTHS[d.month - 1], str(d.day)],
]


@register_data("dates", task="translation", family="made")
def dates(source: Source, pairs: int = 8000) -> RawData:
    """Written dates, word by word, to ISO 8601, character by character; 1,000 other days are the test split.

    ['March', '3', ',', '1', '9', '8', '4'] -> ['1', '9', '8', '4', '-', '0', '3', '-', '0', '3']
    """
    days = (LAST - FIRST).days + 1
    if not 1 <= pairs <= days - TEST_PAIRS:
        raise DataError(f"data.options.pairs: must be from 1 to {days - TEST_PAIRS}, got {pairs}")
    rng = np.random.default_rng(0)
    drawn = rng.permutation(days)[: TEST_PAIRS + pairs]
    chosen = [FIRST + timedelta(days=int(day)) for day in drawn]  # the test split is the same for any number of pairs
    ways = rng.integers(len(WAYS), size=len(chosen))
    written = [WAYS[way](day) for way, day in zip(ways, chosen, strict=True)]
    iso = [list(day.isoformat()) for day in chosen]
    year = [FIRST.replace(year=2000) + timedelta(days=n) for n in range(366)]
    said = {word for way in WAYS for day in year for word in way(day)}
    symbols = [
        *SPECIAL,
        *sorted(said | {word for y in range(FIRST.year, LAST.year + 1) for word in year_words(y)} | set("0123456789")),
    ]
    targets = [*SPECIAL, *sorted("0123456789-")]
    x, y = (_ids(*side) for side in ((written, symbols, LONGEST), (iso, targets, len("2000-01-01"))))
    return RawData(x[TEST_PAIRS:], y[TEST_PAIRS:], x[:TEST_PAIRS], y[:TEST_PAIRS], symbols=symbols, class_names=targets)


def _ids(sequences: list[list[str]], symbols: list[str], longest: int) -> np.ndarray:
    of = {symbol: i for i, symbol in enumerate(symbols)}
    return ended([[of[token] for token in tokens] for tokens in sequences], longest + 1)
