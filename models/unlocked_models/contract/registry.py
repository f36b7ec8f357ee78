"""Names to things: one registry per kind, with the nearest match in every error."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class UnknownName(ValueError):
    """A name that no registry entry has; the message names the nearest match and all known names."""


LISTED = 40  # names in a message


def unknown(kind: str, name: object, known: Sequence[str]) -> str:
    """`unknown scheme 'dnii'; did you mean 'dni'? (known: backprop, cdni, ...)`; of a whole vocabulary the first
    `LISTED`."""
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed, more = sorted(known)[:LISTED], f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(listed)}{more})"


class Registry(Generic[T]):
    """Names of one kind (`model`, `data`, ...), each with the facts it was registered with.

    >>> shapes = Registry("shape")
    >>> @shapes.register("square", sides=4)
    ... def square(): ...
    >>> shapes.facts("square")["sides"]
    4
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Decorator that adds an entry; a name already taken by something else is a `ValueError`."""

        def add(entry: T) -> T:
            taken = self._entries.get(name)
            if taken is not None and _origin(taken) != _origin(entry):
                raise ValueError(f"{self.kind} {name!r} is already registered by {_origin(taken)}")
            self._entries[name] = entry
            self._facts[name] = facts
            return entry

        return add

    def get(self, name: str) -> T:
        """The entry of that name; `UnknownName` with the nearest match otherwise."""
        if name not in self._entries:
            raise UnknownName(unknown(self.kind, name, self.names()))
        return self._entries[name]

    def facts(self, name: str) -> dict[str, Any]:
        self.get(name)
        return self._facts.get(name, {})

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def _origin(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"


MODELS: Registry[Callable[..., Any]] = Registry("model")

# Keywords of a model that the data fills, and no configuration: how many ids its inputs are drawn from (None: real
# numbers), at how many positions there is a target (None: one for the whole example), whether inputs are hidden where a
# target asks for them, whether each sequence has a length of its own, and how many features each edge of a graph has
# (None: nothing is known of the data).
GIVEN = ("vocabulary", "out_positions", "masked", "has_lengths", "edge_features")


def register_model(
    name: str,
    *,
    family: str = "custom",
    nets: Sequence[str] = (),
    also: Sequence[str] = (),
    pictured: bool = False,
    parts: Sequence[str] = (),
) -> Callable[[Any], Any]:
    """Register a model: a factory or class called as `make(in_shape, n_outputs, **options)`.

    It yields the chain, block by block, as all models here do: each is drawn from a seed of its own, and a worker makes
    only its own. Or it returns it, as an `nn.Sequential` or a list of blocks, which every worker builds whole. If it
    names several `nets`, it returns a dictionary of `contract.nets.Net` by these names. `in_shape` is the shape of one
    example without the batch axis, e.g. `(64,)` or `(1, 28, 28)`; `n_outputs` the number of classes or targets.
    `also` names families whose schemes train it too: a deep belief net is an mlp when it is fine-tuned. Of a model that
    is `pictured` blocks have methods by which figures look inside (`memory_over_time`, `load`). `parts` are layers by
    name that several blocks have; those of one name are, in order, the blocks of a net that may be trained apart.
    The keyword options, with their annotations and defaults, are what `model:` accepts in a configuration; a keyword
    named in `GIVEN` is filled by the data instead.

    >>> from torch import nn
    >>> @register_model("tiny_doc")
    ... def tiny(in_shape, n_outputs, width: int = 16):
    ...     yield nn.Linear(in_shape[0], width)
    ...     yield nn.Linear(width, n_outputs)
    """

    def add(make: Any) -> Any:
        entry = _as_list(make) if inspect.isgeneratorfunction(make) else make
        facts = {"nets": tuple(nets), "also": tuple(also), "pictured": pictured, "parts": tuple(parts)}
        return MODELS.register(name, family=family, **facts)(entry)

    return add


def one_by_one(make: Callable[..., Any]) -> Callable[..., Any]:
    """Of the function of a model that yields its blocks the one that yields them still; any other as it is."""
    found: Callable[..., Any] = getattr(make, "one_by_one", make)
    return found


def _as_list(steps: Callable[..., Iterator[Any]]) -> Callable[..., list[Any]]:
    """A function that yields blocks, as one that returns them all; `one_by_one` yields them still."""

    @functools.wraps(steps)
    def make(*arguments: Any, **options: Any) -> list[Any]:
        return list(steps(*arguments, **options))

    make.one_by_one = steps  # type: ignore[attr-defined]
    return make
