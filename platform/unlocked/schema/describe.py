"""The schema as text, from the facts beside its keys: the end of `--help`, and a page of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any

from unlocked.engines import ENGINES
from unlocked.options import type_name
from unlocked.schema.facts import Fact, default_of, fact_of


def describe_schema(schema: type) -> str:
    """One line per key, indented as in a YAML file: `batch_size: 64  # int; its meaning; at least 1`.

    `unlocked.config.schema()` is the schema with the options of all registered schemes.
    """
    return "\n".join(_lines(schema, ""))


@dataclass(frozen=True)
class Key:
    """One key in words: `optimizer.lr`, its type, its default and what it means."""

    name: str
    type: str
    default: str
    meaning: str


def keys_of(schema: type, prefix: str = "") -> Iterator[Key]:
    """Every key, by its whole name."""
    for field in fields(schema):
        default = default_of(field)
        if is_dataclass(default):
            yield from keys_of(type(default), f"{prefix}{field.name}.")
        else:
            yield Key(f"{prefix}{field.name}", _type(field), _shown(default), _words(field))


def groups_of(schema: type) -> dict[str, str]:
    """The groups at the top, each with the first line about it."""
    groups = {field.name: default_of(field) for field in fields(schema)}
    return {
        name: (inspect.getdoc(type(default)) or "").partition("\n")[0]
        for name, default in groups.items()
        if is_dataclass(default)
    }


def reference(schema: type) -> str:
    """The same as Markdown: a table per group of keys."""
    return "\n\n".join(_tables(schema, ""))


def _lines(schema: type, indent: str) -> Iterator[str]:
    for field in fields(schema):
        default = default_of(field)
        if is_dataclass(default):
            head, about = f"{indent}{field.name}:", (inspect.getdoc(type(default)) or "").partition("\n")[0]
            yield f"{head:<34}# {_owners(field)}{about}"
            yield from _lines(type(default), indent + "  ")
            continue
        line = f"{indent}{field.name}: {_shown(default)}"
        yield f"{line:<34}# {'; '.join(filter(None, (_type(field), _words(field))))}"


def _words(field: Field[Any]) -> str:
    fact = fact_of(field) or Fact("")
    names = ENGINES.names() if fact.named == ENGINES.kind else []
    return _owners(field) + "; ".join(filter(None, (" | ".join((*fact.choices, *names)), fact.meaning, fact.range())))


def _owners(field: Field[Any]) -> str:
    """The schemes whose option it is."""
    schemes = field.metadata.get("of")
    return f"{', '.join(schemes)}: " if schemes else ""


def _tables(schema: type, prefix: str, owners: str = "") -> Iterator[str]:
    """One for the keys of the schema that are no groups, then those of its groups."""
    title = f"## `{prefix[:-1]}`" if prefix else "## Keys of no group"
    about = owners + (inspect.getdoc(schema) or "")
    rows, groups = [], []
    for field in fields(schema):
        default = default_of(field)
        if is_dataclass(default):
            groups.append((type(default), f"{prefix}{field.name}.", _owners(field)))
            continue
        cells = (f"`{prefix}{field.name}`", f"`{_type(field)}`", f"`{_shown(default)}`", _words(field))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if rows:
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        yield "\n\n".join((title, about, "\n".join((head, *rows))))
    for inner, name, schemes in groups:
        yield from _tables(inner, name, schemes)


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return "(required)" if default == "???" else str(default)


def _type(field: Field[Any]) -> str:
    return type_name(field.type)
