"""The schema as text, read from the dataclasses themselves: keys, types, defaults, and the comment behind each."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass

from unlocked.schema.keys import Config


def describe_schema() -> str:
    """One line per key, indented as in a YAML file."""
    return "\n".join(_lines(Config, ""))


def _lines(schema: type, indent: str) -> list[str]:
    comments = dict(re.findall(r"^    (\w+):[^#\n]*#\s*(.*)$", inspect.getsource(schema), re.M))
    lines = []
    for field in fields(schema):
        default = field.default_factory() if callable(field.default_factory) else field.default
        if is_dataclass(default):
            lines.append(f"{indent}{field.name}:")
            lines += _lines(type(default), indent + "  ")
            continue
        shown = (
            {None: "null", True: "true", False: "false"}.get(default, default)
            if isinstance(default, (bool, type(None)))
            else default
        )
        value = "(required)" if shown == "???" else f"{shown}"
        line = f"{indent}{field.name}: {value}"
        comment = comments.get(field.name)
        lines.append(f"{line:<34}# {field.type}" + (f"; {comment}" if comment else ""))
    return lines
