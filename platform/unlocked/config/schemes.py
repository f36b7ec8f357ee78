"""The `schemes` of a preset: what it says for one scheme alone, so that each trains at its own rate.

    schemes:
      dfa:  {optimizer: {lr: 3.0e-4}}
      cdni: {scheme: {sg: {hidden: [64]}}}

The entry of the chosen scheme lies above the files and below the command line. A study that goes from one scheme to
another has to take one entry away before it lays on the next; so that this is exact, every entry is completed with what
the preset says of the keys that only others name, and `default` is the entry of schemes that have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
NOT_OF_A_SCHEME = {"name", "seed", "scheme.name"}  # what an entry cannot give: with them it would train another run

Flat = dict[str, Any]  # dotted key -> value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Flat:
    """Dotted keys and values; lists are values.

    >>> flatten({"optimizer": {"lr": 0.1}, "seed": 1})
    {'optimizer.lr': 0.1, 'seed': 1}
    """
    flat: Flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat


def completed(schemes: Mapping[str, Any], below: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Flat]:
    """Every entry with the same keys.

    Args:
        schemes: the entries as given.
        below: the whole tree without any of them; a key that is not in it has no value there and is left out.
        fixed: the tree of what lies above them: keys that no entry decides.
    """
    entries = {name: flatten(entry or {}) for name, entry in schemes.items()}
    entries.setdefault(DEFAULT, {})
    base, settled = flatten(below), flatten(fixed)
    keys = {key for entry in entries.values() for key in entry} - settled.keys()
    rest = {key: base[key] for key in sorted(keys) if key in base}
    return {name: rest | {key: value for key, value in entry.items() if key in keys} for name, entry in entries.items()}


def entry_of(schemes: Mapping[str, Flat], name: str) -> Flat:
    return schemes.get(name, schemes.get(DEFAULT, {}))
