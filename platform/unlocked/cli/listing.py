"""Rows for the eye: a table if its longest lines fit the terminal, else an entry for each row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Rows = list[dict[str, Any]]
WHAT = "what"  # the key of a sentence, which an entry shows without its name
_WIDEST = 100  # characters of a line of text


def show(rows: Rows, console: Console, by_folder: bool = False) -> None:
    """`by_folder`: of names such as `graph/gat` a table for each folder if one for all would be too wide, if need be
    without the last columns."""
    if _width(rows) <= console.width:
        _table(rows, console)
    elif by_folder and (tables := _by_folder(rows, console.width)):
        for inside in tables:
            _table(inside, console, ruled=False)
    else:
        _entries(rows, console)


def _by_folder(rows: Rows, width: int) -> list[Rows]:
    """Headed by the folder; empty if two columns are too wide already."""
    heading, *keys = rows[0]
    folders = dict.fromkeys(str(row[heading]).rpartition("/")[0] for row in rows)
    for last in range(len(keys), 0, -1):
        tables = [
            [
                {f"{folder}/" if folder else heading: row[heading]} | {key: row[key] for key in keys[:last]}
                for row in rows
                if str(row[heading]).rpartition("/")[0] == folder
            ]
            for folder in folders
        ]
        if all(_width(inside) <= width for inside in tables):
            return tables
    return []


def _table(rows: Rows, console: Console, ruled: bool = True) -> None:
    from rich import box

    from unlocked.rich_text import PlainTable

    table = PlainTable(
        box=box.SIMPLE_HEAD if ruled else None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for heading in rows[0]:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def _entries(rows: Rows, console: Console) -> None:
    """The name with the facts beside it that are short in every row; below it the sentence, then the long facts."""
    from rich.text import Text

    width = min(console.width, _WIDEST)
    name, *keys = rows[0] if rows else [""]
    beside = [key for key in keys if key != WHAT and all(len(str(row[key])) <= _SHORT for row in rows)]
    for row in rows:
        facts = "".join(f"  {key} {row[key]}" for key in beside if str(row[key]))
        console.print(Text.assemble((str(row[name]), "bold"), facts), soft_wrap=True)
        for key in keys:
            if key not in beside and str(row[key]):
                head = "" if key == WHAT else f"{key}: "
                console.print("\n".join(folded(f"{head}{row[key]}", width)), soft_wrap=True)


_SHORT = 24  # characters of a fact that stands beside the name


def folded(text: str, width: int, indent: str = "    ") -> list[str]:
    """Lines of at most `width` characters, cut between words; a word that is longer has a line of its own."""
    wrapper = textwrap.TextWrapper(
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text)


def _width(rows: Rows) -> int:
    columns = [[key, *(str(row[key]) for row in rows)] for key in rows[0]] if rows else []
    return sum(max(map(len, column)) + 2 for column in columns)


def options(parameters: Sequence[Any], prefix: str = "") -> str:
    """`noise=0.1, file (str)`: parameters of a signature with their defaults, those without one with their type."""
    from unlocked.options import as_written, type_name

    shown = []
    for one in parameters:
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            continue
        if one.default is not one.empty:
            shown.append(f"{prefix}{one.name}={as_written(one.default)}")
        else:
            kind = "" if one.annotation is one.empty else f" ({type_name(one.annotation)})"
            shown.append(f"{prefix}{one.name}{kind}")
    return ", ".join(shown)
