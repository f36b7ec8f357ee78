"""Environments of gymnasium, whose starts are the examples of a data set: what one is, beside its examples.

Which environment it is goes with every example as an extra, `environment (bytes)`, JSON, so that whoever has a
minibatch can act in it: a worker, an evaluation, a run that is opened again.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from unlocked.errors import DataError, reason

EXTRA = "environment"
INSTALL = "pip install 'unlocked[control]'"
MOST_BYTES = 256  # of its JSON
LARGE = 1000.0  # bounds of an observation beyond which there are none in practice


@dataclass(frozen=True)
class Environment:
    """`options`: gymnasium's own keywords. `values`: of the physics, attributes of the unwrapped environment."""

    id: str
    options: Mapping[str, Any]
    values: Mapping[str, Any]

    def encoded(self) -> np.ndarray:
        """`(bytes,)`"""
        text = json.dumps({"id": self.id, "options": dict(self.options), "values": dict(self.values)}, sort_keys=True)
        if len(text.encode()) > MOST_BYTES:
            raise DataError(f"data.options: what is given of {self.id} is more than {MOST_BYTES} letters")
        return np.frombuffer(text.encode().ljust(MOST_BYTES), np.uint8).astype(np.int64)  # of one length at any level

    @classmethod
    def of(cls, extra: Tensor) -> Environment:
        """Of the extra of a minibatch, `(n, bytes)`: all its examples are of one."""
        return cls(**json.loads(bytes(extra[0].tolist()).decode()))

    def make(self) -> Any:
        """One to act in. Raises `DataError`, one line, for what gymnasium does not know."""
        gymnasium = package()
        try:
            made = gymnasium.make(self.id, disable_env_checker=True, **self.options)
        except Exception as error:  # an environment of a user's may raise anything
            raise DataError(f"data.options.environment: {self.id}: {reason(error)}") from None
        for name, value in self.values.items():
            if not isinstance(getattr(made.unwrapped, name, None), int | float):
                raise DataError(f"data.options: {self.id} has no number {name!r}")
            setattr(made.unwrapped, name, value)
        return made


def package() -> Any:
    """gymnasium, or `DataError` that says how to get it."""
    try:
        return importlib.import_module("gymnasium")
    except ImportError:
        raise DataError(f"data.name: control acts in environments of gymnasium, which is missing; {INSTALL}") from None


def scale_of(environment: Any) -> np.ndarray:
    """What observations are divided by, so that they lie within -1 and 1: their bounds, or 1 where there are none."""
    space = environment.observation_space
    most = np.maximum(np.abs(space.low), np.abs(space.high)).astype(np.float64)
    return np.where((most > 0) & (most < LARGE), most, 1.0).astype(np.float32)
