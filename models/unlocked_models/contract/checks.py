"""Options that no model can be built with, each refused in one line: the key, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from unlocked_models.contract.registry import unknown

T = TypeVar("T")


def pick(table: Mapping[str, T], key: str, name: str) -> T:
    """`table[name]`, or e.g. `model.norm: unknown norm 'bach'; did you mean 'batch'? (known: ...)`."""
    if name not in table:
        raise ValueError(f"model.{key}: {unknown(key, name, list(table))}")
    return table[name]


def one_of(key: str, value: int, allowed: Sequence[int]) -> None:
    if value not in allowed:
        raise ValueError(f"model.{key}: {value!r} is not one of {', '.join(map(str, allowed))}")


def whole(key: str, value: int, least: int = 1) -> None:
    """`value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"model.{key}: must be a whole number of at least {least}, got {value!r}")


def odd(key: str, value: int) -> None:
    """`value` is an odd size of a convolution's kernel."""
    whole(key, value)
    if value % 2 == 0:
        raise ValueError(f"model.{key}: must be odd, such as 3 or 5, to keep the resolution; got {value}")


def sizes(key: str, values: Sequence[int], least_many: int = 0) -> None:
    """`values` is a list of layer widths, each a whole number of at least 1."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"model.{key}: must be a list of layer sizes, such as [256, 256], got {values!r}")
    if len(values) < least_many:
        raise ValueError(f"model.{key}: needs {least_many} or more sizes, got {list(values)!r}")
    for value in values:
        whole(key, value)


def fraction(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"model.{key}: must be at least 0 and less than 1, got {value!r}")


def positive(key: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"model.{key}: must be greater than 0 and finite, got {value!r}")


def not_negative(key: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"model.{key}: must be at least 0 and finite, got {value!r}")


def outputs(model: str, n_outputs: int) -> None:
    if not isinstance(n_outputs, int) or n_outputs < 1:
        raise ValueError(f"model.name: {model} gives at least one output, the task asks for {n_outputs!r}")


def image(model: str, in_shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """`(channels, height, width)` of one example; refuses anything but images of `least` pixels a side."""
    if len(in_shape) != 3:
        raise ValueError(
            f"model.name: {model} takes images (channels, height, width), "
            f"the data has examples of shape {tuple(in_shape)}"
        )
    channels, height, width = in_shape
    if min(height, width) < least:
        raise ValueError(
            f"model.name: {model} takes images of at least {least} x {least} pixels, the data has {height} x {width}"
        )
    return channels, height, width


def halvings(key: str, layers: int, height: int, width: int, remedy: str = "give fewer layers") -> None:
    """Each of as many layers halves an image, and leaves a pixel."""
    if min(height, width) < 2**layers:
        raise ValueError(
            f"model.{key}: {layers} layers halve the image {layers} times, the data has {height} x {width}; {remedy}"
        )
