"""Keys and values as headings and cells say them."""

from __future__ import annotations

from collections.abc import Sequence

from unlocked.tracking.identity import BESIDE, TAG_OF

ABSENT = "-"  # a key that a group of runs does not have


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
    """Numbers by four digits.

    >>> brief("0.0025811552841929356"), brief("128"), brief("20000"), brief("[32, 32]")
    ('0.002581', '128', '20000', '[32, 32]')
    """
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value
