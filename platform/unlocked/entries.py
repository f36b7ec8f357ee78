"""What is registered is checked at once: a whole subclass, whose methods can be called as the platform calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from unlocked.blame import defined

_OWN = ("__init__", "__new__")  # their parameters may be anybody's own options
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_entry(kind: str, name: str, entry: Any, base: type, needs: Sequence[str] = ()) -> None:
    """Raises `TypeError`, one line, for an entry that is not a subclass of `base`, that lacks an abstract method or an
    attribute of `needs`, or that takes other arguments than `base` does."""
    if not (isinstance(entry, type) and issubclass(entry, base)):
        raise TypeError(f"{kind} {name!r}: {_named(entry)} is not a subclass of unlocked.{base.__name__}")
    lacks = sorted(getattr(entry, "__abstractmethods__", ())) + [each for each in needs if not hasattr(entry, each)]
    if lacks:
        raise TypeError(f"{kind} {name!r}: {entry.__name__} needs {', '.join(lacks)}")
    for method in dir(base):
        asked, given = getattr(base, method), getattr(entry, method)
        if method in _OWN or given is asked or not all(map(inspect.isroutine, (asked, given))):
            continue
        if method.startswith("__") and method != "__call__":
            continue
        wanted = _parameters(base, method, asked)
        needed = [each.name for each in wanted if each.kind in _POSITIONAL and each.default is each.empty]
        try:
            inspect.Signature(_parameters(entry, method, given)).bind(*needed)
        except TypeError:
            raise TypeError(
                f"{kind} {name!r}: {method}{inspect.signature(given)}{_at(given)} is called as "
                f"{method}({', '.join(needed)})"
            ) from None


def _parameters(owner: type, method: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Of a method as it is called: without `self`."""
    found = list(inspect.signature(function).parameters.values())
    return found[1:] if inspect.isfunction(inspect.getattr_static(owner, method)) else found


def _at(function: Any) -> str:
    found = defined(function)
    return f" at {found}" if found is not None else ""


def _named(entry: Any) -> str:
    return getattr(entry, "__qualname__", None) or repr(entry)
