"""JSON as RFC 8259 has it, which every parser reads: what is not a finite number is null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """`json.dumps` without NaN and Infinity, which are no JSON: null stands in their place.

    >>> dumps({"r2": float("nan"), "rows": [1.0, float("-inf")]})
    '{"r2": null, "rows": [1.0, null]}'
    """
    return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """`value`, in its dicts and lists None for every number that is NaN or infinite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, float) else key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value


def numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers that were written by `dumps`, NaN again where null stands."""
    return {key: math.nan if value is None else value for key, value in values.items()}
