"""From what was written to what the schema means by it: `name: 0x1F` is a text, `seed: 0x1F` a number.

Every tree goes through here before it is merged, from a file, a command line or Python, and is checked on the way:
its depth, its keys, integers too long to be one, text where a number is wanted, and references.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from unlocked.config.schema import schema
from unlocked.config.yaml12 import DEEPEST, Plain, clipped, is_null, resolve
from unlocked.errors import ConfigError
from unlocked.schema.keys import DIMENSION_KEYS

_PRESETS = ("extends", "preset")  # name one, and are no keys of the schema: of a file, and of a space
_REFERENCE = re.compile(r"\$\{[\w.\[\]-]*\}")


@dataclass(frozen=True)
class _Dimension:
    """The kind of an entry of sweep.space, of its choices, or of one of them."""

    name: str
    part: str = "entry"  # entry | choices | choice


def typed(tree: Any, source: str = "") -> Any:
    """A copy of the tree in which every scalar has the value that the schema's type gives it.

    Raises `ConfigError`, one line that begins with `source` and names the key.
    """
    return _typed(tree, schema(), "", source, 0)


def kind_at(path: str, below: Any = None) -> Any:
    """The type of the key at a dotted path, of a configuration or `below` one of its groups.

    `Any` for a model's and a data set's own options, and for keys that the schema does not have.

    >>> kind_at("optimizer.lr"), kind_at("schemes.dfa.optimizer.lr"), kind_at("model.width")
    (<class 'float'>, <class 'float'>, typing.Any)
    """
    if path in _PRESETS:
        return str
    parts = path.split(".")
    if parts[0] in ("schemes", "nets") and len(parts) > 2:  # an entry of it is a part of a configuration
        return kind_at(".".join(parts[2:]))
    kind = below or schema()
    for part in parts:
        kind = _kinds(kind).get(part, Any) if is_dataclass(kind) else Any
    return kind


def alternatives(kind: Any) -> tuple[Any, ...]:
    """`(int, None)` of `int | None`; one of anything else."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def is_text(kind: Any) -> bool:
    """Whether text is all that a key can be, but for null."""
    return set(alternatives(kind)) - {NoneType} == {str}


def text_keys(below: Any = None, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Every key of the schema that is a text, and whether it may be null."""
    whole: Any = below or schema()
    for name, kind in _kinds(whole).items():
        if is_dataclass(kind):
            yield from text_keys(kind, f"{prefix}{name}.")
        elif is_text(kind):
            yield f"{prefix}{name}", NoneType in alternatives(kind)


def refuse_references(tree: Any, source: str = "") -> None:
    """What still looks like a reference after all were followed would be followed when the text is read again."""
    for key, value in _texts(tree, ""):
        if "${" in value:
            raise _error(
                source,
                key,
                f"{clipped(value)!r} calls a resolver; only references such as ${{seed}} are "
                "allowed in a configuration, and no other ${",
            )


@cache
def _kinds(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


def _typed(node: Any, kind: Any, key: str, source: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise _error(source, key, f"nested deeper than {DEEPEST} levels")
    if isinstance(node, (dict, list, tuple)) and kind in (bool, int, float, str) and key.endswith("]"):
        what = "a dictionary" if isinstance(node, dict) else "a list"
        raise _error(source, key, f"{what} is not of type {kind.__name__}")  # within lists OmegaConf does not look
    if isinstance(node, dict):
        return {
            _name(name, key, source): _typed(
                value, _kind_below(kind, key, name), f"{key}.{name}" if key else name, source, depth + 1
            )
            for name, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        item = _kind_of_items(kind, key)
        return [_typed(value, item, f"{key}[{i}]", source, depth + 1) for i, value in enumerate(node)]
    if isinstance(kind, _Dimension):
        kind = kind_at(kind.name) if kind.part == "choice" else Any
    return _scalar(node, kind, key, source)


def _name(name: Any, key: str, source: str) -> str:
    if isinstance(name, str):
        return name
    raise _error(source, f"{key}.{name}" if key else str(name), f"unknown key: {name!r} is no text")


def _kind_below(kind: Any, key: str, name: Any) -> Any:
    """Of the value of `name` in a dictionary of some kind at `key`."""
    if isinstance(kind, _Dimension):
        if kind.part != "entry":  # the name of a choice, or a key that it sets
            return _Dimension(kind.name, "choice") if kind.part == "choices" else kind_at(str(name))
        if name == "choice":
            return _Dimension(kind.name, "choices")
        return schema() if name == "when" else Any if name in DIMENSION_KEYS else _Dimension(f"{kind.name}.{name}")
    if is_dataclass(kind):
        return kind_at(str(name), kind)
    if key == "sweep.space":
        return _Dimension(str(name))
    return schema() if key in ("schemes", "nets") else Any


def _kind_of_items(kind: Any, key: str) -> Any:
    if isinstance(kind, _Dimension):
        return _Dimension(kind.name, "choice") if kind.part != "choice" else Any
    if key == "sweep.enqueue":
        return schema()
    lists = [one for one in alternatives(kind) if get_origin(one) is list]
    if lists:
        return get_args(lists[0])[0]
    return kind if key.startswith("sweep.space.") else Any  # several values of a `when`


def _scalar(node: Any, kind: Any, key: str, source: str) -> Any:
    if isinstance(node, Plain):
        try:
            node = resolve(node.text) if not is_text(kind) else None if is_null(node.text) else node.text
        except ValueError as error:
            raise _error(source, key, str(error)) from None
    if isinstance(node, str):
        _check_text(node, kind, key, source)
    if kind is Any and isinstance(node, float) and math.isnan(node):  # other kinds have their ranges
        raise _error(source, key, "must be a number that can be computed with, got nan")
    if bool in alternatives(kind) and isinstance(node, int | float) and not isinstance(node, bool):
        raise _error(source, key, f"{node!r} is not of type bool; expected true or false")
    return node


def _check_text(text: str, kind: Any, key: str, source: str) -> None:
    if text == "???":
        raise _error(source, key, "a value is required; '???' stands for one that is missing")
    if "${" in _REFERENCE.sub("", text) or "\\${" in text:
        raise _error(
            source,
            key,
            f"{clipped(text)!r} calls a resolver; only references such as ${{seed}} are allowed in a configuration",
        )
    scalars = [one for one in alternatives(kind) if one in (bool, int, float, str)]
    if scalars and str not in scalars and "${" not in text:  # else OmegaConf makes 1000 of '1_000', true of 'yes'
        expected = "; expected true or false" if scalars == [bool] else ""
        raise _error(source, key, f"{clipped(text)!r} is not of type {scalars[0].__name__}{expected}")


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)
    elif isinstance(node, str):
        yield key, node


def _error(source: str, key: str, problem: str) -> ConfigError:
    return ConfigError(f"{source}: {key}: {problem}" if source else f"{key}: {problem}")
