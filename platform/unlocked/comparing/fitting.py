"""The table of rows for a terminal: in full, else with short cells, else an entry for each row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from unlocked.comparing.rows import Row
from unlocked.comparing.table import cell, metrics_of, render
from unlocked.metrics import heading
from unlocked.tracking.captions import ABSENT, brief, short_names

if TYPE_CHECKING:
    from rich.console import RenderableType


def fitted(
    rows: Sequence[Row],
    metrics: Sequence[str] | None,
    width: int,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    hide: Sequence[str] = (),
    baseline: str | None = None,
) -> RenderableType:
    """No line is wider than `width` columns; the other arguments are those of `render`."""
    from unlocked.rich_text import plain_console

    console = plain_console(width=10_000)
    for short in (False, True):
        table = render(rows, metrics, title=title, notes=notes, hide=hide, baseline=baseline, short=short)
        if table.__rich_measure__(console, console.options).maximum <= width:
            return table
    return _entries(rows, metrics, title, notes, hide)


def _entries(
    rows: Sequence[Row],
    metrics: Sequence[str] | None,
    title: str | None,
    notes: Sequence[str],
    hide: Collection[str],
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(title, "italic")] if title else []
    names = short_names([key for key in (rows[0].group if rows else ()) if key not in hide])
    for row in rows:
        keys = "  ".join(f"{name} {brief(row.group[key])}" for key, name in names.items() if row.group[key] != ABSENT)
        marks = " (control)" * row.is_control + " (infeasible)" * (not row.feasible)
        lines.append(Text(f"{keys}{marks}", "bold"))
        for metric in metrics_of(rows, metrics):
            if row.values(metric):
                said = cell(row.summary(metric), metric).replace("\n", "; ")
                lines.append(Text(f"    {heading(metric)}: {said}"))
    return Group(*lines, *(Text(note, "dim italic") for note in notes))
