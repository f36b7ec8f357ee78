"""Which of a run's params MLflow shows, and where the others are kept.

A configuration has about a hundred keys, and most of them are as everywhere. MLflow gets as params those that are not;
all of them, packed, are one tag, hidden by its prefix. Runs of earlier versions have all of their keys as params.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Collection, Mapping
from typing import Any

from unlocked.tracking.keys import CONFIG_TAG

_LONGEST = 7900  # letters; MLflow cuts a tag at 8,000
_LARGEST = 1_000_000  # bytes; no configuration comes near it


def differing(params: Mapping[str, str], defaults: Mapping[str, str], always: Collection[str] = ()) -> list[str]:
    """The keys that are not as the `defaults` have them, and those of `always`; where the run lies is no fact of it.

    >>> differing({"seed": "0", "optimizer.lr": "0.01", "model.name": "mlp"}, {"seed": "0", "optimizer.lr": "0.001"})
    ['optimizer.lr', 'model.name']
    """
    return [
        key
        for key, value in params.items()
        if key in always
        or (defaults.get(key) != value and not key.startswith(("tracking.", "schemes.", "expect.")) and key != "name")
    ]


def pack(params: Mapping[str, str]) -> str | None:
    """All params as the value of `CONFIG_TAG`; None if they are too long for a tag.

    >>> unpack(pack({"seed": "0", "optimizer.lr": "0.01"}))
    {'seed': '0', 'optimizer.lr': '0.01'}
    """
    return pack_any(dict(params))


def unpack(text: str) -> dict[str, str] | None:
    """None for what is no such value."""
    found = unpack_any(text)
    is_flat = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if is_flat else None


def pack_any(value: Any) -> str | None:
    """A value of JSON as that of a tag; None if it is too long for one."""
    text = base64.b64encode(zlib.compress(json.dumps(value).encode(), 9)).decode()
    return text if len(text) <= _LONGEST else None


def unpack_any(text: str) -> Any:
    """None for what is no such tag."""
    try:
        whole = zlib.decompressobj()
        return json.loads(whole.decompress(base64.b64decode(text, validate=True), _LARGEST))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return None


def whole(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """All of a run's params, from what MLflow has of it."""
    return {**(unpack(tags.get(CONFIG_TAG, "")) or {}), **params}
