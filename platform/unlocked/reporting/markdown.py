"""A report as Markdown, with its figures as PNG in a folder beside it."""

from __future__ import annotations

from pathlib import Path

from unlocked.files import write_whole
from unlocked.markdown import fenced
from unlocked.reporting.document import Block, Commands, Document, Figure, Heading, Notes, Paragraph, Table


def figures_of(path: Path) -> Path:
    """The folder of a report's figures."""
    return path.with_name(f"{path.stem}-figures")


def render(document: Document, path: Path) -> Path:
    parts = [f"# {_escaped(document.title)}", _escaped(document.subtitle)]
    parts += [part for block in document.blocks if (part := _block(block, path))]
    return write_whole(path, "\n\n".join(parts) + "\n")


def _block(block: Block, path: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * max(2, block.level)} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return f"> **{_escaped(block.text)}**" if block.lead else _escaped(block.text)
    if isinstance(block, Commands):
        return fenced("\n".join(block.lines))
    if isinstance(block, Notes):
        return "\n".join(f"- {_escaped(line)}" for line in block.lines)
    if isinstance(block, Table):
        return _table(block)
    return _figure(block, path)


def _table(table: Table) -> str:
    marks = ["---" if i < table.left else "---:" for i in range(len(table.header))]
    head, *rows = ([_escaped(cell) for cell in row] for row in (table.header, *table.rows))
    shown = "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))
    return f"{shown}\n\n*{_escaped(table.caption)}*" if table.caption else shown


def _figure(figure: Figure, path: Path) -> str:
    drawn = figure.draw(figures_of(path) / f"{figure.name}.png")
    words = _escaped(figure.caption)
    return f"![{words}]({figures_of(path).name}/{drawn.name})\n\n*{words}*" if drawn is not None else ""


def _escaped(text: str) -> str:
    for mark in "\\|*_<>`[]$&~#":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", "<br>")
