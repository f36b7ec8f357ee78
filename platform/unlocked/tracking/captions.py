"""Keys and values as headings and cells say them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from unlocked.numerals import as_number
from unlocked.tracking.identity import BESIDE, TAG_OF

ABSENT = "-"  # a key that a group of runs does not have
_LONGEST_NAME = 60  # letters, of a run
_FLOAT = re.compile(r"-?\d+(\.\d+(e[+-]\d+)?|e[+-]\d+)")  # as `repr` writes them


_NAMED = {*TAG_OF.values(), *BESIDE, "config_hash"} - {"model", "scheme", "dataset", "task"}  # bare values say nothing


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each key by as much of its end as no other of them ends in.

    >>> short_names(["scheme", "optimizer.lr", "scheme.sg.lr", "train.epochs"])
    {'scheme': 'scheme', 'optimizer.lr': 'optimizer.lr', 'scheme.sg.lr': 'sg.lr', 'train.epochs': 'epochs'}
    """
    ends = {key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys}

    def others(key: str) -> set[str]:
        return {end for other in keys if other != key for end in ends[other]}

    return {key: next((end for end in ends[key] if end not in others(key)), key) for key in keys}


def is_named(key: str) -> bool:
    """Whether its value stands with its name: a bare 2 would say nothing."""
    return key in _NAMED or "." in key


def brief(value: str) -> str:
    """Numbers by four digits; digests that could be read as numbers stay.

    >>> brief("0.0025811552841929356"), brief("128"), brief("20000"), brief("[32, 32]"), brief("2399e038")
    ('0.002581', '128', '20000', '[32, 32]', '2399e038')
    """
    return f"{float(value):.4g}" if _FLOAT.fullmatch(value) else value


def run_name(scheme: str, seed: str) -> str:
    """A run as the dashboard names it; of what it is a run is in its columns.

    >>> run_name("cdni", "0")
    'cdni s0'
    """
    return f"{scheme} s{seed}"


def trial_name(number: int, scheme: str, point: Mapping[str, str], seed: str | None = None) -> str:
    """A trial, by what its study searches; with its seed if it has several.

    >>> trial_name(7, "dfa", {"scheme.name": "dfa", "optimizer.lr": "0.004237", "model.width": "64"})
    '#7 dfa lr 4.2e-3 width 64'
    """
    short = short_names([*point, "seed"])
    own = {key: value for key, value in point.items() if key not in ("scheme.name", "seed")}
    words = [f"#{number}", scheme, *(f"{short[key]} {_compact(value)}" for key, value in own.items())]
    name = " ".join([*words, *([f"s{seed}"] if seed is not None else [])])
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _compact(value: str) -> str:
    """As `brief`, and small or large numbers by two digits and their power of ten."""
    number = as_number(value)
    if number is None or value.lstrip("-").isdigit() or not (0 < abs(number) < 0.01 or abs(number) >= 1e5):
        return brief(value)
    digits, power = f"{number:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
