"""User code that registers models, data sets and schemes: by --import, or as an installed package's entry point.

A configuration never names code: only these two do.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from unlocked.errors import ConfigError, reason

GROUP = "unlocked.plugins"


def import_modules(names: Sequence[str]) -> None:
    """Imports the installed plug-ins, then the named modules. Raises `ConfigError` naming the one that fails."""
    for entry in entry_points(group=GROUP):
        _import(entry.value.partition(":")[0], f"plug-in {entry.name!r}")
    for name in names:
        _import(name, f"--import {name}")


def import_path() -> list[str]:
    """Where this process finds modules, for another one to `enter`: the working directory by its name."""
    return [os.getcwd() if entry == "" else entry for entry in sys.path]


def enter(folder: str, path: Sequence[str], names: Sequence[str]) -> None:
    """In a worker: the driver's folder, import path and modules, so that ./data and user code are found as there."""
    with contextlib.suppress(OSError):  # another machine may not have that folder
        os.chdir(folder)
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    import_modules(names)


def _import(module: str, source: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a user's module raises on import, its name and line help most
        raise ConfigError(f"{source}: {type(error).__name__}: {reason(error)}"
                          ) from error
