"""A report before it has a format: headings, sentences, tables, figures, commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str
    lead: bool = False  # the answer, which stands out


@dataclass(frozen=True)
class Table:
    """`colors`: of each row, to be shown before its first cell; `left`: columns of words, others are of numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    colors: Sequence[str] = ()
    left: int = 1


@dataclass(frozen=True)
class Figure:
    """`draw` writes it to a path, in the format of its ending."""

    name: str
    draw: Callable[[Path], Path | None]
    caption: str


@dataclass(frozen=True)
class Commands:
    lines: Sequence[str]


@dataclass(frozen=True)
class Notes:
    lines: Sequence[str]


Block = Heading | Paragraph | Table | Figure | Commands | Notes


@dataclass
class Document:
    title: str
    subtitle: str
    blocks: list[Block] = field(default_factory=list)
