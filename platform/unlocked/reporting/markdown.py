"""A report as Markdown, with its figures as PNG in a folder beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlocked.files import write_whole
from unlocked.markdown import fenced
from unlocked.reporting.document import Commands, Document, Figure, Form, Heading, Notes, Paragraph, Table


def figures_of(path: Path) -> Path:
    """The folder of a report's figures."""
    return path.with_name(f"{path.stem}-figures")


def render(document: Document, path: Path) -> Path:
    parts = [f"# {_escaped(document.title)}", _escaped(document.subtitle), *_Markdown(path).of(document)]
    return write_whole(path, "\n\n".join(parts) + "\n")


@dataclass(frozen=True)
class _Markdown(Form):
    path: Path

    def heading(self, heading: Heading) -> str:
        return f"{'#' * max(2, heading.level)} {_escaped(heading.text)}"

    def paragraph(self, paragraph: Paragraph) -> str:
        return f"> **{_escaped(paragraph.text)}**" if paragraph.lead else _escaped(paragraph.text)

    def commands(self, commands: Commands) -> str:
        return fenced("\n".join(commands.lines))

    def notes(self, notes: Notes) -> str:
        return "\n".join(f"- {_escaped(line)}" for line in notes.lines)

    def table(self, table: Table) -> str:
        marks = ["---" if i < table.left else "---:" for i in range(len(table.header))]
        head, *rows = ([_escaped(cell) for cell in row] for row in (table.header, *table.rows))
        shown = "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))
        return f"{shown}\n\n*{_escaped(table.caption)}*" if table.caption else shown

    def figure(self, figure: Figure) -> str:
        drawn = figure.draw(figures_of(self.path) / f"{figure.name}.png")
        words = _escaped(figure.caption)
        return f"![{words}]({figures_of(self.path).name}/{drawn.name})\n\n*{words}*" if drawn is not None else ""


def _escaped(text: str) -> str:
    for mark in "\\|*_<>`[]$&~#":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", "<br>")
