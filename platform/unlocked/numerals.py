"""Numbers in text."""

from __future__ import annotations


def as_number(text: str) -> float | None:
    """None if the text is not one."""
    try:
        return float(text)
    except ValueError:
        return None


def is_number(text: str) -> bool:
    return as_number(text) is not None
