"""Options that an entry of a registry declares: a dataclass whose fields are keys of the configuration.

Schemes and optimisers declare theirs so: the fields become keys under `scheme.` and `optimizer.`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, NamedTuple, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlocked.errors import reason
from unlocked.schema.facts import default_of, fact_of


@dataclass
class NoOptions:
    """Of an entry that needs none."""


class Option(NamedTuple):
    field: Field[Any]
    kind: Any  # its type
    owners: list[str]  # names of the entries that have it


def collected(entries: Iterable[tuple[str, type]]) -> dict[str, Option]:
    """By key, of entries by name and their options."""
    found: dict[str, Option] = {}
    for name, options in entries:
        kinds = get_type_hints(options)
        for field in fields(options):
            found.setdefault(field.name, Option(field, kinds[field.name], [])).owners.append(name)
    return found


def check_declared(kind: str, name: str, options: type, group: type, others: dict[str, Option]) -> None:
    """Raises `ValueError`, one line, for options that cannot be keys.

    Args:
        kind: `scheme` or `optimizer`, as messages name it; also the group of the keys.
        group: the dataclass of the keys that all entries of this kind have.
        others: options that are declared already. Two entries may share one only if it is the same.
    """
    who, taken = f"{kind} {name}", [field.name for field in fields(group)]
    if not is_dataclass(options):
        raise ValueError(f"{who}: its Options is not a dataclass; put @dataclass above it")
    for field in fields(options):
        if field.name in taken:
            raise ValueError(f"{who}: option {field.name} is one of every {kind}; give yours another name")
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{who}: option {field.name} needs a default")
        _refuse_undeclared(who, field)
    try:
        kinds = get_type_hints(options)
        OmegaConf.structured(options)
    except (NameError, TypeError, OmegaConfBaseException) as error:
        raise ValueError(f"{who}: its options cannot be read from a configuration: {reason(error)}") from None
    for field in fields(options):
        other = others.get(field.name)
        if other is not None and name not in other.owners and not _same(field, kinds[field.name], other):
            raise ValueError(
                f"{who}: option {field.name} is another one than {kind}.{field.name} of {other.owners[0]}; rename it, "
                f"or put it into a group, a field that is a dataclass of its own"
            )


def _refuse_undeclared(who: str, field: Field[Any], prefix: str = "") -> None:
    """A field without the facts by which it is checked and described."""
    name, default = f"{prefix}{field.name}", default_of(field)
    if is_dataclass(default):
        for inner in fields(default):
            _refuse_undeclared(who, inner, f"{name}.")
    elif fact_of(field) is None:
        written = getattr(field.type, "__name__", field.type)
        raise ValueError(
            f"{who}: option {name} is not declared by key(); write {field.name}: {written} = "
            f'unlocked.key({default!r}, "its meaning")'
        )


def _same(field: Field[Any], kind: Any, other: Option) -> bool:
    return (kind, default_of(field), fact_of(field)) == (other.kind, default_of(other.field), fact_of(other.field))
