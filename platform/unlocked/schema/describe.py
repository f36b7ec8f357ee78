"""The schema as text, from the facts beside its keys: the end of `--help`, and a page of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from typing import Any

from unlocked.schema.facts import Fact, default_of, fact_of
from unlocked.schema.keys import Config


def describe_schema() -> str:
    """One line per key, indented as in a YAML file: `batch_size: 64  # int; its meaning; at least 1`."""
    return "\n".join(_lines(Config, ""))


def reference() -> str:
    """The same as Markdown: a table per group of keys."""
    return "\n\n".join(_tables(Config, ""))


def _lines(schema: type, indent: str) -> Iterator[str]:
    for field in fields(schema):
        default = default_of(field)
        if is_dataclass(default):
            yield f"{indent}{field.name}:"
            yield from _lines(type(default), indent + "  ")
            continue
        line = f"{indent}{field.name}: {_shown(default)}"
        yield f"{line:<34}# {'; '.join(filter(None, (_type(field), *_words(fact_of(field)))))}"


def _words(fact: Fact | None) -> tuple[str, ...]:
    return () if fact is None else (" | ".join(fact.choices), fact.meaning, fact.range())


def _tables(schema: type, prefix: str) -> Iterator[str]:
    """One for the keys of the schema that are no groups, then those of its groups."""
    title, about = f"## `{prefix[:-1]}`" if prefix else "## Keys of no group", inspect.getdoc(schema) or ""
    rows, groups = [], []
    for field in fields(schema):
        default = default_of(field)
        if is_dataclass(default):
            groups.append((type(default), f"{prefix}{field.name}."))
            continue
        choices, meaning, span = _words(fact_of(field)) or ("", "", "")
        meaning = "; ".join(filter(None, (choices, meaning, span)))
        cells = (f"`{prefix}{field.name}`", f"`{_type(field)}`", f"`{_shown(default)}`", meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if rows:
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        yield "\n\n".join((title, about, "\n".join((head, *rows))))
    for inner, name in groups:
        yield from _tables(inner, name)


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return "(required)" if default == "???" else str(default)


def _type(field: Field[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
