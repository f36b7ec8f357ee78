"""What people wrote is shown letter by letter, whatever rich would read in it."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

import unlocked
from unlocked.jobs.spec import Spec
from unlocked.jobs.table import Job
from unlocked.rich_text import PlainTable, plain_console

ODD = ["[backprop,dfa]", "[/b]", "[bold]x", ":warning:", r"\[a]", "[link=http://x]y[/link]"]


@pytest.mark.parametrize("words", ODD)
def test_headings_cells_titles_and_captions_are_shown_as_they_are_on_any_console(words):
    table = PlainTable(f"heading {words}", title=f"title {words}", caption=f"caption {words}")
    table.add_column(f"column {words}")
    table.add_row(words, f"cell {words}")
    console = Console(file=io.StringIO(), width=300)
    console.print(table)
    shown = console.file.getvalue()
    assert [
        place for place in ("heading", "title", "caption", "column", "cell") if f"{place} {words}" not in shown
    ] == []


def test_a_cell_gives_the_terminal_no_orders():
    table = PlainTable("a\x1b[2J")
    table.add_row("\x1b]0;title\x07b")
    console = plain_console(file=io.StringIO(), width=80)
    console.print(table)
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize("words", ODD)
def test_a_line_on_the_console_is_shown_as_it_is(words):
    console = plain_console(file=io.StringIO(), width=300)
    console.print(f"{words} and {words}", style="dim")
    assert console.file.getvalue() == f"{words} and {words}\n"


def test_the_command_of_a_job_may_hold_brackets(capsys):
    from unlocked.cli.jobs import _table

    words = ["sweep", "q.yaml", "sweep.space.scheme.name=[backprop,dfa]", "data.root=/tmp/x[/b]"]
    _table([Job(Spec("a", "sweep", words, {"CPU": 1.0}, {"CPU": 0.0}), "succeeded", time.time())], as_json=False)
    assert " ".join(words) in capsys.readouterr().out


def test_every_table_and_console_of_the_platform_is_one_that_shows_text_as_it_is():
    source = Path(unlocked.__file__).parent
    other = re.compile(r"\bConsole\(|rich\.table|(?<!from html )import escape|markup=|\[bold\]")
    assert [
        f"{path.name}: {match[0]}"
        for path in source.rglob("*.py")
        if path.name != "rich_text.py"
        for match in other.finditer(path.read_text())
    ] == []
