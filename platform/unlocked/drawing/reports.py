"""The figures of a report: curves with bands over steps and over time, quality against speed, alignment, waiting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from unlocked.colors import BLUE, ORANGE, VERMILION, scheme_color
from unlocked.drawing.style import INK, drawing, footnote, headline, in_percent, literal
from unlocked.metrics import axis_label, higher_is_better, is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = Sequence[tuple[float, float]]

_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_POINTS = 200  # of a band
SPENT = {"computing": BLUE, "communicating": ORANGE, "waiting": VERMILION}


@dataclass(frozen=True)
class Line:
    """A configuration in a figure: its name, its scheme, and a curve for each seed."""

    name: str
    scheme: str
    seeds: Sequence[Curve]


def looks(lines: Sequence[Any]) -> list[dict[str, Any]]:
    """The colour of each line's scheme; lines of one scheme differ in dashes and markers, so that print shows them."""
    seen: dict[str, int] = {}
    found = []
    for line in lines:
        nth = seen[line.scheme] = seen.get(line.scheme, -1) + 1
        dashes = _DASHES[nth % len(_DASHES)]
        found.append({"color": scheme_color(line.scheme), "linestyle": dashes, "marker": _MARKERS[nth % len(_MARKERS)]})
    return found


def bands(panels: Mapping[str, Sequence[Line]], metric: str, path: Path) -> Path | None:
    """The mean over seeds of each line, and a band from the lowest to the highest, over each `x` of the panels."""
    panels = {x: [line for line in lines if any(line.seeds)] for x, lines in panels.items()}
    if not any(panels.values()):
        return None
    with drawing(path, columns=len(panels), size=(5.0 * len(panels) + 1.6, 4.0)) as (figure, axes):
        for nth, (panel, (x, lines)) in enumerate(zip(axes, panels.items(), strict=True)):
            for line, look in zip(lines, looks(lines), strict=True):
                at, low, mean, high = over_seeds(line.seeds)
                marker = look["marker"] if len(at) <= 40 else None
                panel.plot(at, mean, **look | {"marker": marker}, markersize=3.5, label=literal(line.name))
                panel.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
            _share_ticks(panel, metric)
            panel.set(xlabel=x, ylabel=axis_label(metric))
            if nth == len(panels) - 1:
                panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        split = {"train": "Training", "val": "Validation", "test": "Test"}.get(metric.partition("/")[0], "")
        headline(figure, f"{split} {axis_label(metric).partition(' (')[0]} over steps and time".strip().capitalize())
        footnote(figure, "line: mean over seeds; band: from the lowest to the highest seed")
    return path


def over_seeds(curves: Sequence[Curve]) -> tuple[list[float], list[float], list[float], list[float]]:
    """x, and the least, the mean and the greatest of the seeds there.

    Curves are read between their points; where one ends, the range that all have ends.

    >>> over_seeds([[(0, 0.0), (2, 2.0)], [(1, 3.0), (2, 4.0)]])
    ([1.0, 2.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0])
    """
    import numpy as np

    finite = [[(x, y) for x, y in curve if math.isfinite(y)] for curve in curves]
    finite = [curve for curve in finite if curve]
    if not finite:
        return [], [], [], []
    begin, end = max(curve[0][0] for curve in finite), min(curve[-1][0] for curve in finite)
    at = sorted({x for curve in finite for x, _ in curve if begin <= x <= end}) or [end]
    if len(at) > _POINTS:
        at = [float(x) for x in np.linspace(at[0], at[-1], _POINTS)]
    values = np.array([np.interp(at, [x for x, _ in curve], [y for _, y in curve]) for curve in finite])
    low, mean, high = (each.tolist() for each in (values.min(0), values.mean(0), values.max(0)))
    return [float(x) for x in at], low, mean, high


@dataclass(frozen=True)
class Dot:
    """A configuration by its speed and its quality, each with the values of its seeds."""

    name: str
    scheme: str
    speed: Sequence[float]
    quality: Sequence[float]


def front(dots: Sequence[Dot], higher: bool) -> list[int]:
    """Those than which no other is both faster and better.

    >>> made = [Dot("", "", [s], [q]) for s, q in ((1, 3), (2, 2), (1, 1))]
    >>> front(made, higher=True)
    [0, 1]
    """
    sign = 1.0 if higher else -1.0
    at = [(fmean(dot.speed), sign * fmean(dot.quality)) for dot in dots]
    return [i for i, mine in enumerate(at) if not any(x >= mine[0] and y >= mine[1] and (x, y) != mine for x, y in at)]


def pareto(dots: Sequence[Dot], metric: str, speed: str, path: Path) -> Path | None:
    """Quality over speed; the configurations than which none is both faster and better are joined."""
    if not dots:
        return None
    with drawing(path, size=(7.2, 4.4)) as (figure, (panel,)):
        for dot, look in zip(dots, looks(dots), strict=True):
            x, y = fmean(dot.speed), fmean(dot.quality)
            panel.plot([min(dot.speed), max(dot.speed)], [y, y], color=look["color"], linewidth=1.2, alpha=0.7)
            panel.plot([x, x], [min(dot.quality), max(dot.quality)], color=look["color"], linewidth=1.2, alpha=0.7)
            panel.plot([x], [y], look["marker"], color=look["color"], markersize=8, label=literal(dot.name))
        best = sorted(front(dots, higher_is_better(metric)), key=lambda i: fmean(dots[i].speed))
        joined = [(fmean(dots[i].speed), fmean(dots[i].quality)) for i in best]
        panel.plot(*zip(*joined, strict=True), color=INK, linewidth=1.0, linestyle=":", zorder=1, label="front")
        panel.margins(0.12)
        _share_ticks(panel, metric)
        panel.set(xlabel=axis_label(speed), ylabel=f"test {axis_label(metric)}")
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        headline(figure, "Quality against speed")
        footnote(figure, "mark: mean over seeds; bars: from the lowest to the highest seed")
    return path


def alignment(panels: Mapping[int, Sequence[Line]], path: Path) -> Path | None:
    """Cosine of the injected gradient with the true one, a panel for each module."""
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with drawing(path, columns, (4.2 * columns + 1.8, 3.4 * rows + 0.5), rows) as (figure, axes):
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        for nth, (panel, (module, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
            for line, look in zip(lines, looks(lines), strict=True):
                at, low, mean, high = over_seeds(line.seeds)
                panel.plot(at, mean, **look, markersize=3.5, label=literal(line.name))
                panel.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)
            panel.axhline(0.0, color=INK, linewidth=1.0, zorder=1)
            panel.set_ylim(-1.05, 1.05)
            panel.set(title=f"Module {module}", xlabel="step (minibatches)", ylabel=axis_label("align"))
            if nth == min(columns, len(panels)) - 1:
                panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        headline(figure, "Injected gradient against the true one")
    return path


@dataclass(frozen=True)
class Spent:
    """Milliseconds of a step of one module, by what it did."""

    name: str
    of: Mapping[str, float]


def waiting(bars: Sequence[Spent], path: Path) -> Path | None:
    """Where a step of each module goes: computing, communicating, waiting, stacked."""
    if not bars:
        return None
    hatches = {"communicating": "///", "waiting": "..."}
    with drawing(path, size=(7.6, 1.9 + 0.42 * len(bars))) as (figure, (panel,)):
        left = [0.0] * len(bars)
        for what, color in SPENT.items():
            wide = [bar.of.get(what, 0.0) for bar in bars]
            panel.barh(
                range(len(bars)),
                wide,
                left=left,
                height=0.62,
                color=color,
                label=what,
                hatch=hatches.get(what),
                edgecolor="white",
                linewidth=0,
            )
            left = [a + b for a, b in zip(left, wide, strict=True)]
        for place, (bar, end) in enumerate(zip(bars, left, strict=True)):
            share = bar.of.get("waiting", 0.0) / end if end else 0.0
            panel.text(end * 1.01, place, f"waits {share:.0%}", va="center", fontsize=8.5)
        panel.set_yticks(range(len(bars)), [literal(bar.name) for bar in bars])
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
        panel.set_xlim(0, 1.18 * max(left) or 1.0)
        panel.set_xlabel("milliseconds per step")
        figure.legend(loc="outside lower center", ncols=3)
        headline(figure, "Where a step of each module goes")
    return path


def _share_ticks(panel: Axes, metric: str) -> None:
    if is_share(metric):
        in_percent(panel.yaxis)
