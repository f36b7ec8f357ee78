"""Figures of many runs, as PNG: bars per group, lines over a number that the groups differ in."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unlocked.colors import BLUE, GREY, PALETTE, scheme_color
from unlocked.drawing.style import drawing, footnote, headline, in_percent, literal
from unlocked.metrics import axis_label, is_share
from unlocked.numerals import as_number
from unlocked.tracking.captions import ABSENT, brief, is_named, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P")
_AXES = {"lag": "lag (minibatches)", "modules": "modules"}
_WIDE = 30  # letters of a bar's name in one line
_LABEL_ROOM = 0.05  # of the axis' height, between two labels


class Comparable(Protocol):
    """What `comparison` needs of a row of the table."""

    group: dict[str, str]

    @property
    def label(self) -> str: ...
    @property
    def is_control(self) -> bool: ...
    def values(self, metric: str) -> Sequence[float]: ...


def comparison(table: Sequence[Comparable], path: Path, metric: str = "test/accuracy") -> Path | None:
    """Mean of `metric` per row as bars, each seed a dot on a line from worst to best; control hatched.

    Values so close that bars would all look alike are drawn without them, on an axis that begins near the lowest.
    """
    rows = [row for row in table if len(row.values(metric)) > 0]
    if not rows:
        return None
    names = [textwrap.fill(name, _WIDE) for name in names_of(rows)]
    height = sum(max(0.46, 0.2 + 0.17 * (1 + name.count("\n"))) for name in names)
    with drawing(path, size=(7.6, 1.7 + height)) as (figure, (panel,)):
        lowest = min(min(row.values(metric)) for row in rows)
        highest = max(max(row.values(metric)) for row in rows)
        close = 0.85 * highest < lowest < highest
        room = highest - lowest if close else highest
        for place, row in enumerate(rows):
            values = list(row.values(metric))
            mean = math.fsum(values) / len(values)
            look: dict[str, Any] = {"color": scheme_color(row.group["scheme"]) if "scheme" in row.group else BLUE}
            if row.is_control:
                look = {"color": "#D9D9D9", "hatch": "///", "edgecolor": GREY}
            if close:
                panel.plot([mean], [place], "|", markersize=22, markeredgewidth=2.5, color=look["color"])
            else:
                panel.barh(place, mean, height=0.62, linewidth=0, **look)
            panel.plot([min(values), max(values)], [place, place], color="#222222", linewidth=1.3)
            panel.plot(values, [place] * len(values), "o", markersize=4, color="white", mec="#222222")
            number = _number(mean, metric, digits=4 if close else 3)
            panel.text(max(values) + 0.025 * room, place, number, va="center", fontsize=9)
        panel.set_yticks(range(len(rows)), list(map(literal, names)))
        panel.set_ylim(max(len(rows), 2) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
        panel.set_xlim(lowest - 0.1 * room if close else 0, highest + 0.14 * room)
        panel.set_xlabel(axis_label(metric))
        if is_share(metric):
            in_percent(panel.xaxis, most=1.0)
        _head(figure, rows, metric)
        if any(len(row.values(metric)) > 1 for row in rows):
            footnote(
                figure, f"{'tick' if close else 'bar'}: mean; dots: seeds; line: from the lowest to the highest seed"
            )
    return path


def comparison_against(table: Sequence[Comparable], x: str, path: Path, metric: str = "test/accuracy") -> Path | None:
    """Mean of `metric` over a numeric group key `x` (modules, lag, a rate), a line per remaining group.

    Bands reach from the lowest to the highest seed. A group without a number for `x` is a level, drawn without markers
    over the whole axis. The control is grey and dashed. Lines of one scheme share their colour; each is named at its
    right end. None when no row has both the metric and a number.
    """
    lines = _lines(table, x, metric)
    ticks = sorted({at for line in lines for at in line.points})
    if not ticks:
        return None
    with drawing(path, size=(7.6, 4.8)) as (figure, (panel,)):
        if ticks[0] > 0 and ticks[-1] / ticks[0] > 20:
            panel.set_xscale("log", base=2)
        for line in lines:
            xs = sorted(line.points) or [ticks[0], ticks[-1]]
            spread = [line.points[at] for at in xs] if line.points else [line.level] * 2
            line.mean = [math.fsum(values) / len(values) for values in spread]
            panel.plot(xs, line.mean, **line.look)
            panel.fill_between(
                xs,
                [min(values) for values in spread],
                [max(values) for values in spread],
                color=line.look["color"],
                alpha=0.13,
                linewidth=0,
            )
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        if is_share(metric):
            in_percent(panel.yaxis)
        panel.set(xlabel=_AXES.get(x, x), ylabel=axis_label(metric))
        _head(figure, table, metric)
        if any(len(row.values(metric)) > 1 for row in table):
            footnote(figure, "line: mean; band: from the lowest to the highest seed")
        _name_lines(panel, lines, ticks[-1])
    return path


@dataclass
class _Line:
    """One group over x: `points` maps x to the seeds' values, `level` holds them if there is no x."""

    name: str
    look: dict[str, Any]
    points: dict[float, Sequence[float]] = field(default_factory=dict)
    level: Sequence[float] = ()
    mean: list[float] = field(default_factory=list)


def _lines(table: Sequence[Comparable], x: str, metric: str) -> list[_Line]:
    varying = [key for key in (table[0].group if table else ()) if len({row.group[key] for row in table}) > 1]
    named = [key for key in varying if key != x] or ["scheme"]
    leading = "scheme" if "scheme" in named else named[0]
    named = [key for key in named if key == leading or _differs_within(table, leading, key)]
    rows = [row for row in sorted(table, key=lambda row: row.label) if row.values(metric)]
    numbered = [row for row in rows if as_number(row.group.get(x, "")) is not None]
    each = [value for (value,) in _distinct(rows, [leading], skip_control=True)]
    colours = (
        {value: scheme_color(value) for value in each}
        if leading == "scheme"
        else dict(zip(each, PALETTE * len(rows), strict=False))
    )
    markers = dict(
        zip(_distinct(numbered, [key for key in named if key != leading]), MARKERS * len(rows), strict=False)
    )
    short = short_names(list(rows[0].group)) if rows else {}
    lines: dict[tuple[str, ...], _Line] = {}
    for row in rows:
        group = {key: row.group.get(key, "") for key in named}
        words = [
            f"{value} {_AXES.get(key, key)}"
            if key == "modules"
            else value
            if key == leading
            else f"{short[key]} {brief(value)}"
            for key, value in group.items()
            if value != ABSENT
        ]
        name = ", ".join(words) + (" (control)" if row.is_control else "")
        at = as_number(row.group.get(x, ""))
        look: dict[str, Any] = {
            "color": GREY if row.is_control else colours[group[leading]],
            "linestyle": "--" if row.is_control else "-" if at is not None else "-.",
        }
        if at is not None:
            marker = markers[tuple(value for key, value in group.items() if key != leading)]
            look |= {"marker": marker, "markersize": 5.5}
        line = lines.setdefault((name, *group.values()), _Line(name, look))
        if at is None:
            line.level = row.values(metric)
        else:
            line.points[at] = row.values(metric)
    return list(lines.values())


def names_of(rows: Sequence[Comparable]) -> list[str]:
    """What tells the rows apart, by short names as in the table."""
    keys = list(rows[0].group)
    varying = [key for key in keys if len({row.group.get(key) for row in rows}) > 1] or keys
    short = short_names(keys)
    names = []
    for row in rows:
        values = [(key, value) for key in varying if (value := row.group.get(key, ABSENT)) != ABSENT]
        words = [f"{short[key]}\N{NO-BREAK SPACE}{brief(value)}" if is_named(key) else value for key, value in values]
        names.append(", ".join(words) + (" (control)" if row.is_control else ""))
    return names


def _head(figure: Figure, rows: Sequence[Comparable], metric: str) -> None:
    title = f"{metric.replace('/', ' ').replace('_', ' ').capitalize()}, {_over_seeds(rows, metric)}"
    headline(figure, title)


def _differs_within(table: Sequence[Comparable], leading: str, key: str) -> bool:
    """Whether rows of one scheme differ in a key; what only schemes differ in need not be said of their lines."""
    seen = {(row.group.get(leading, ""), row.group.get(key, "")) for row in table}
    return len(seen) > len({group for group, _ in seen})


def _distinct(rows: Sequence[Comparable], keys: Sequence[str], skip_control: bool = False) -> list[tuple[str, ...]]:
    return sorted(
        {tuple(row.group.get(key, "") for key in keys) for row in rows if not (skip_control and row.is_control)}
    )


def _name_lines(panel: Axes, lines: Sequence[_Line], right: float) -> None:
    """Every line's name at its right end, moved up or down until no two overlap."""
    low, high = panel.get_ylim()
    room = _LABEL_ROOM * (high - low)
    clusters: list[list[_Line]] = []  # of names that must share their space around the mean of their ends
    for line in sorted(lines, key=lambda line: line.mean[-1]):
        clusters.append([line])
        while len(clusters) > 1:
            below, above = clusters[-2:]
            if _bottom(above, room) >= _bottom(below, room) + len(below) * room:
                break
            clusters[-2:] = [below + above]
    for cluster in clusters:
        for place, line in enumerate(cluster):
            y = _bottom(cluster, room) + (place + 0.5) * room
            panel.annotate(
                literal(line.name),
                (right, y),
                xytext=(10, 0),
                textcoords="offset points",
                va="center",
                color=line.look["color"],
                fontsize=9,
                annotation_clip=False,
            )
    panel.set_ylim(low, high)


def _bottom(cluster: Sequence[_Line], room: float) -> float:
    """Where the lowest name of a cluster begins."""
    return math.fsum(line.mean[-1] for line in cluster) / len(cluster) - len(cluster) * room / 2


def _over_seeds(rows: Sequence[Comparable], metric: str) -> str:
    seeds = sorted({count for row in rows if (count := len(row.values(metric)))})
    if seeds == [1]:
        return "one seed"
    return f"mean of {seeds[0]} seeds" if len(seeds) == 1 else f"mean of {seeds[0]} to {seeds[-1]} seeds"


def _number(value: float, metric: str, digits: int) -> str:
    return f"{value:.1%}" if is_share(metric) else f"{value:.{digits}g}"
