"""Text as it is, in rich's tables and on its console.

Rich reads `[brackets]` in a string as markup and `:words:` as emoji: it drops them, or ends in an error where a bracket
closes what nothing opened. Names, values and messages come from people and may hold both. So every table and every
console of the platform is one of these, in which a string is its letters; what is to be coloured is a `Text`.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from unlocked.security.names import without_controls


class PlainTable(Table):
    """A table whose headings, cells, title and caption are shown as they are, on whatever console."""

    def __init__(
        self,
        *headings: RenderableType,
        title: RenderableType | None = None,
        caption: RenderableType | None = None,
        **options: Any,
    ):
        super().__init__(title=_as_it_is(title, "table.title"), caption=_as_it_is(caption, "table.caption"), **options)
        for heading in headings:
            self.add_column(heading)

    def add_column(self, header: RenderableType = "", *arguments: Any, **options: Any) -> None:
        super().add_column(_as_it_is(header), *arguments, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*map(_as_it_is, cells), **options)


def plain_console(**options: Any) -> Console:
    """A console on which strings are shown as they are."""
    return Console(markup=False, emoji=False, **options)


def _as_it_is(cell: Any, style: str = "") -> Any:
    return Text(without_controls(cell), style=style) if isinstance(cell, str) else cell
