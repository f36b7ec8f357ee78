"""YAML 1.2, core schema, as this platform reads and writes it: bounded, so that a stranger's file is safe to read.

`010` is ten and `0o10` eight; `1:30`, `1_000`, `yes` and `2024-05-01` are text. What YAML readers often let pass is
refused: a key given twice, tags, merge keys (`<<`), several documents. Every mistake is a `ConfigError`, one line with
the file and the line in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unlocked.errors import ConfigError, reason

LONGEST = 1 << 20  # characters of a file
DEEPEST = 50  # collections inside each other
MOST = 100_000  # values and keys, those that aliases repeat counted each time
_DIGITS = 20  # of an integer; one of 64 bits has no more

_CORE = "tag:yaml.org,2002:"
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Plain:
    """A scalar without quotes: where the schema wants text it is `text`, elsewhere what `resolve(text)` says."""

    text: str

    def __str__(self) -> str:
        return self.text


def resolve(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar stands for by the core schema. `ValueError` for an integer of more than 64 bits.

    >>> [resolve(text) for text in ("~", "True", "010", "0o10", "0x1F", "1e3", "1_000", "1:30", "no")]
    [None, True, 10, 8, 31, 1000.0, '1_000', '1:30', 'no']
    """
    if is_null(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)) if len(text) <= _DIGITS + 2 else None
        if number is None or not -(2**63) <= number < 2**64:
            raise ValueError(f"{clipped(text)} is an integer of more than 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def is_null(text: str) -> bool:
    return _NULL.fullmatch(text) is not None


def read_file(path: Path) -> str:
    """The text of a YAML file. `ConfigError` for one that is binary or too long; an `OSError` is the caller's."""
    if path.exists() and not path.is_file():  # a pipe without a writer is never read to its end
        raise ConfigError(f"{path}: not a file")
    with path.open("rb") as file:
        raw = file.read(4 * LONGEST + 1)  # a character has at most four bytes
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not readable as YAML, which is UTF-8 text: {error.reason} at byte {error.start}"
        ) from None


def read_yaml(text: str, source: str) -> Any:
    """Dictionaries with text keys, lists, `str` for what stands in quotes, and `Plain` for what does not.

    Errors begin with `source`.
    """
    try:
        return _read(text, source)[0]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}: not readable as YAML{where}: {_problem(error)}") from None


def read_value(text: str, source: str) -> Any:
    """As `read_yaml`, of one value on a command line, if nobody means a comment by `#`."""
    try:
        tree, end = _read(text, source)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: the value {clipped(text)!r} is not readable as YAML: {_problem(error)}") from None
    if "#" in text[end:]:
        raise ConfigError(
            f"{source}: # begins a comment in {clipped(text)!r}; for a # in the value put quotes around "
            f"it, as in {source}='\"a #b\"'"
        )
    return tree


def write_yaml(tree: Any) -> str:
    """The text from which `read_yaml` and the schema make the same tree."""
    out: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None)
    return out


def clipped(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _read(text: str, source: str) -> tuple[Any, int]:
    """The tree, and where its text ends."""
    if len(text) > LONGEST:
        raise ConfigError(f"{source}: longer than {LONGEST} characters, the most that a configuration may have")
    reader = _Reader(source)
    return reader.document(yaml.parse(text, Loader=yaml.SafeLoader)), reader.end


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or reason(error)


class _Reader:
    """From PyYAML's events to values; the parser that makes the events keeps no more than a line of text back."""

    def __init__(self, source: str):
        self.end = 0
        self._source = source
        self._count = 0
        self._anchors: dict[str, tuple[Any, int] | None] = {}  # value and how many it holds; None: still being read

    def document(self, events: Iterator[yaml.Event]) -> Any:
        self._events = events
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        tree = self._node(next(events), 0)
        next(events)
        event = next(events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error(event, "a second document begins; expected one")
        return tree

    def _node(self, event: yaml.Event, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > DEEPEST:
            raise self._error(event, f"nested deeper than {DEEPEST} levels")
        before, self._anchors[event.anchor] = self._count, None
        self._add(event, 1)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif event.tag not in (None, "!", f"{_CORE}seq", f"{_CORE}map"):
            raise self._error(event, f"the tag {clipped(event.tag)} is not known here")
        else:
            value = (self._list if isinstance(event, yaml.SequenceStartEvent) else self._dict)(depth)
        self._anchors[event.anchor] = value, self._count - before
        return value

    def _list(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event, depth + 1))
        self.end = event.end_mark.index
        return found

    def _dict(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if isinstance(key, Plain) and key.text == "<<":
                raise self._error(event, "<< merges in YAML 1.1 alone; write the keys, or a file that extends another")
            name = key.text if isinstance(key, Plain) else key
            if not isinstance(name, str):
                raise self._error(event, "a key has to be text")
            if name in found:
                raise self._error(event, f"the key {clipped(name)!r} is given twice, before in line {lines[name]}")
            found[name], lines[name] = self._node(next(self._events), depth + 1), event.start_mark.line + 1
        self.end = event.end_mark.index
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        self.end = event.end_mark.index
        if event.tag is None:
            return Plain(event.value) if event.style is None else event.value
        if event.tag in ("!", f"{_CORE}str"):
            return event.value
        kinds: dict[str, Any] = {"null": type(None), "bool": bool, "int": int, "float": (int, float)}
        kind = kinds.get(event.tag.removeprefix(_CORE))
        if kind is None:
            raise self._error(event, f"the tag {clipped(event.tag)} is not known here")
        try:
            value = resolve(event.value)
        except ValueError as error:
            raise self._error(event, str(error)) from None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._error(event, f"{clipped(event.value)!r} is not what its tag says")
        return float(value) if event.tag == f"{_CORE}float" else value

    def _alias(self, event: yaml.AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise self._error(event, f"no anchor &{clipped(event.anchor)} stands before its alias")
        anchor = self._anchors[event.anchor]
        if anchor is None:
            raise self._error(event, "a YAML alias contains itself")
        self.end = event.end_mark.index
        self._add(event, anchor[1])
        return anchor[0]

    def _add(self, event: yaml.Event, count: int) -> None:
        self._count += count
        if self._count > MOST:
            raise self._error(event, f"more than {MOST} values, those of aliases included")

    def _error(self, event: yaml.Event, problem: str) -> ConfigError:
        return ConfigError(f"{self._source}: line {event.start_mark.line + 1}: {problem}")


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no annotations
    """Quotes every text that YAML 1.1 or 1.2 would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern, _first in (("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+.0123456789")):
    _Dumper.add_implicit_resolver(f"{_CORE}{_kind}", re.compile(f"^(?:{_pattern.pattern})$"), list(_first))
