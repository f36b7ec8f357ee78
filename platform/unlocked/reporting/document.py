"""A report before it has a format: headings, sentences, tables, figures, commands."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class Form(ABC):
    """A format that a document is written in: a text for each kind of block, empty for one that is left out."""

    def of(self, document: Document) -> list[str]:
        """The blocks in their order."""
        return [text for block in document.blocks if (text := self._block(block))]

    def _block(self, block: Block) -> str:
        if isinstance(block, Heading):
            return self.heading(block)
        if isinstance(block, Paragraph):
            return self.paragraph(block)
        if isinstance(block, Commands):
            return self.commands(block)
        if isinstance(block, Notes):
            return self.notes(block)
        return self.table(block) if isinstance(block, Table) else self.figure(block)

    @abstractmethod
    def heading(self, heading: Heading) -> str: ...
    @abstractmethod
    def paragraph(self, paragraph: Paragraph) -> str: ...
    @abstractmethod
    def commands(self, commands: Commands) -> str: ...
    @abstractmethod
    def notes(self, notes: Notes) -> str: ...
    @abstractmethod
    def table(self, table: Table) -> str: ...
    @abstractmethod
    def figure(self, figure: Figure) -> str: ...


@dataclass
class Document:
    title: str
    subtitle: str
    blocks: list[Block] = field(default_factory=list)
