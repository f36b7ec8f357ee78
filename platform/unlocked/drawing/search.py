"""The figures of a search in the house style: history, importances, slices, contours, parallel coordinates, pruning.

Of swept parameters alone: what has one value in the space says nothing. Every figure of one metric; the front of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.colors import BLUE, GREY, VERMILION, scheme_color
from unlocked.drawing.style import INK, drawing, footnote, headline, in_percent, literal
from unlocked.metrics import axis_label, is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4  # parameters in contours: there is a panel for every two
_COLUMNS = 4
_SCALE = "viridis"


@dataclass(frozen=True)
class Parameter:
    """A dimension of the space. `choices`: of names, in the order of the axis; empty for numbers."""

    name: str
    log: bool = False
    choices: Sequence[str] = ()

    def place(self, value: Any) -> float:
        """On its axis, where logarithmic ones are even."""
        if self.choices:
            return float(list(self.choices).index(str(value)))
        return math.log10(value) if self.log else float(value)

    def label(self, panel: Axes, axis: str) -> None:
        """Ticks and name of an axis that has places on it."""
        one = getattr(panel, f"{axis}axis")
        one.set_label_text(literal(self.name))
        if self.choices:
            slanted = axis == "x" and sum(map(len, self.choices)) > 16
            one.set_ticks(range(len(self.choices)), [literal(choice) for choice in self.choices])
            panel.tick_params(axis=axis, rotation=30 if slanted else 0)  # type: ignore[arg-type]
            getattr(panel, f"set_{axis}lim")(-0.5, len(self.choices) - 0.5)
        elif self.log:
            one.set_major_locator(_decades())
            one.set_major_formatter(lambda at, _: _power(at))


@dataclass(frozen=True)
class Try:
    """A trial: its parameters, the value that it reached if it was completed, and what it reported before."""

    number: int
    params: Mapping[str, Any]
    value: float | None
    reported: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    metric: str
    maximize: bool
    tries: Sequence[Try]
    parameters: Sequence[Parameter]
    importances: Mapping[str, float]  # by name, the most important first; empty if they cannot be told

    @property
    def complete(self) -> list[Try]:
        return [each for each in self.tries if each.value is not None and math.isfinite(each.value)]

    @property
    def best(self) -> Try:
        choose = max if self.maximize else min
        return choose(self.complete, key=lambda each: each.value or 0.0)

    def leading(self, most: int) -> list[Parameter]:
        rank = {name: i for i, name in enumerate(self.importances)}
        return sorted(self.parameters, key=lambda parameter: rank.get(parameter.name, len(rank)))[:most]

    @property
    def of(self) -> str:
        return f"{len(self.complete)} trials"


def history(search: Search, path: Path) -> Path:
    choose = max if search.maximize else min
    best, line = None, []
    for each in search.complete:
        best = each.value if best is None else choose(best, each.value or 0.0)
        line.append(best)
    numbers = [each.number for each in search.complete]
    with drawing(path, size=(7.2, 4.0)) as (figure, (panel,)):
        values = [each.value or 0.0 for each in search.complete]
        panel.plot(numbers, values, "o", color=GREY, markersize=4.5, label="trial")
        panel.step(numbers, line, where="post", color=BLUE, label="best so far")  # type: ignore[arg-type]
        panel.locator_params(axis="x", integer=True)
        _value_axis(panel, search.metric)
        panel.set(xlabel="trial")
        panel.legend()
        headline(figure, f"History of the search: {search.of}")
    return path


def importances(search: Search, path: Path) -> Path:
    shown = list(search.importances.items())[::-1]
    with drawing(path, size=(7.2, 1.5 + 0.4 * len(shown))) as (figure, (panel,)):
        panel.barh(range(len(shown)), [share for _, share in shown], color=BLUE, height=0.62)
        for place, (_, share) in enumerate(shown):
            panel.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=9)
        panel.set_yticks(range(len(shown)), [literal(name) for name, _ in shown])
        panel.grid(axis="y", visible=False)
        panel.set_xlim(0, 1.1 * max(share for _, share in shown) or 1.0)
        panel.set_xlabel(f"share of the variance of {axis_label(search.metric)}")
        headline(figure, f"Which parameters mattered, by {search.of}")
        footnote(figure, "fANOVA; of a few dozen trials it is a hint")
    return path


def slices(search: Search, path: Path) -> Path:
    columns = min(_COLUMNS, len(search.parameters))
    rows = -(-len(search.parameters) // columns)
    values = [each.value or 0.0 for each in search.complete]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.01
    with drawing(path, columns, (3.1 * columns + 0.6, 2.9 * rows + 0.5), rows) as (figure, panels):
        _hide(panels, len(search.parameters))
        for nth, (panel, parameter) in enumerate(zip(panels, search.parameters, strict=False)):
            shown = [each for each in search.complete if parameter.name in each.params]
            at = [parameter.place(each.params[parameter.name]) for each in shown]
            colors = [
                scheme_color(str(each.params[parameter.name])) if parameter.name == "scheme.name" else BLUE
                for each in shown
            ]
            panel.scatter(at, [each.value or 0.0 for each in shown], s=26, c=colors, alpha=0.75, linewidths=0)
            if search.best in shown:
                _ring(panel, parameter.place(search.best.params[parameter.name]), search.best.value or 0.0)
            parameter.label(panel, "x")
            _value_axis(panel, search.metric, named=nth % columns == 0)
            panel.set_ylim(low - room, high + room)
        headline(figure, f"Each parameter alone, {search.of}")
        footnote(figure, "ring: the best trial")
    return path


def contours(search: Search, path: Path) -> Path | None:
    """The metric over every two of the most important parameters, between the trials that have both."""
    pairs = list(combinations(search.leading(MOST), 2))
    if not pairs:
        return None
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    values = [each.value or 0.0 for each in search.complete]
    low, high = min(values), max(values)
    with drawing(path, columns, (3.9 * columns + 1.2, 3.3 * rows + 0.4), rows) as (figure, panels):
        _hide(panels, len(pairs))
        dots: Any = None
        for panel, (a, b) in zip(panels, pairs, strict=False):
            shown = [each for each in search.complete if {a.name, b.name} <= each.params.keys()]
            x, y = ([p.place(each.params[p.name]) for each in shown] for p in (a, b))
            z = [each.value or 0.0 for each in shown]
            if len({*x}) > 2 and len({*y}) > 2 and not (a.choices or b.choices):
                _filled(panel, x, y, z, low, high)
            dots = panel.scatter(
                x, y, c=z, s=26, cmap=_SCALE, vmin=low, vmax=high, edgecolors="white", linewidths=0.7, zorder=3
            )
            if search.best in shown:
                _ring(panel, a.place(search.best.params[a.name]), b.place(search.best.params[b.name]))
            a.label(panel, "x")
            b.label(panel, "y")
        bar = figure.colorbar(dots, ax=panels, fraction=0.03, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(axis_label(search.metric))
        if is_share(search.metric):
            in_percent(bar.ax.yaxis)
        headline(figure, f"Two parameters at a time, {search.of}")
        footnote(figure, "dot: a trial; ring: the best; between them triangles")
    return path


def parallel(search: Search, path: Path) -> Path:
    """A line for each trial through its parameters, brighter the better; the best in red. Trials without a
    parameter pass below its axis."""
    import matplotlib

    shown = sorted(search.complete, key=lambda each: (each.value or 0.0) * (1 if search.maximize else -1))
    values = [each.value or 0.0 for each in shown]
    low, high = min(values), max(values)
    shades = matplotlib.colormaps[_SCALE]
    axes = list(search.parameters)
    ends = {p.name: _ends([p.place(e.params[p.name]) for e in shown if p.name in e.params], p) for p in axes}
    with drawing(path, size=(max(6.4, 1.75 * (len(axes) + 1)), 4.6)) as (figure, (panel,)):
        for each in shown:
            share = (each.value - low) / (high - low) if high > low and each.value is not None else 1.0
            heights = [
                _share(p.place(each.params[p.name]), *ends[p.name]) if p.name in each.params else _WITHOUT for p in axes
            ]
            best = each is search.best
            color = VERMILION if best else shades(0.95 * share)
            look: dict[str, Any] = {"color": color, "linewidth": 2.6 if best else 1.3}
            panel.plot(range(len(axes) + 1), [*heights, share], alpha=1.0 if best else 0.75, **look)
        for place, parameter in enumerate(axes):
            panel.axvline(place, color=INK, linewidth=0.8)
            for at, word in _marks(parameter, *ends[parameter.name]):
                panel.text(place + 0.03, at, literal(word), fontsize=8, va="center", color=INK, bbox=_PAPER)
            if any(parameter.name not in each.params for each in shown):
                panel.text(place + 0.03, _WITHOUT, "not set", fontsize=8, va="center", color=INK, bbox=_PAPER)
        panel.axvline(len(axes), color=INK, linewidth=0.8)
        for at in (0.0, 0.5, 1.0):
            value = low + at * (high - low)
            word = f"{value:.1%}" if is_share(search.metric) else f"{value:.3g}"
            panel.text(len(axes) + 0.03, at, word, fontsize=8, va="center", color=INK, bbox=_PAPER)
        names = [*(parameter.name for parameter in axes), axis_label(search.metric)]
        panel.set_xticks(range(len(names)), [literal(name.replace(".", ".\n", 1)) for name in names])
        panel.set(yticks=[], xlim=(-0.1, len(axes) + 0.45), ylim=(-0.2, 1.05))
        panel.grid(False)
        panel.spines[:].set_visible(False)
        headline(figure, f"All parameters, {search.of}")
        footnote(figure, "line: a trial, brighter the better; red: the best")
    return path


_WITHOUT = -0.15  # the place of trials that do not have a parameter
_PAPER = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}


def reported(search: Search, path: Path) -> Path:
    """What trials reported while they trained; those that were ended early are dashed."""
    with drawing(path, size=(7.2, 4.0)) as (figure, (panel,)):
        for each in search.tries:
            if each.reported:
                pruned = each.value is None
                best = search.complete and each is search.best
                panel.plot(
                    list(each.reported),
                    list(each.reported.values()),
                    "o--" if pruned else "o-",
                    markersize=3,
                    color=VERMILION if best else GREY if pruned else BLUE,
                    alpha=1.0 if best else 0.55,
                    linewidth=2.2 if best else 1.2,
                    zorder=3 if best else 2,
                )
        for word, look in (("completed", {"color": BLUE}), ("ended early", {"color": GREY, "linestyle": "--"})):
            panel.plot([], [], label=word, **look)  # type: ignore[arg-type]
        panel.plot([], [], color=VERMILION, linewidth=2.2, label="best")
        panel.locator_params(axis="x", integer=True)
        _value_axis(panel, search.metric)
        panel.set_xlabel("epoch")
        panel.legend()
        headline(figure, "What trials reported while they trained")
    return path


def front(values: Sequence[tuple[float, float]], best: Sequence[int], metrics: Sequence[str], path: Path) -> Path:
    """Trials by two metrics; `best`: places of those that no other is better than in both."""
    with drawing(path, size=(7.2, 4.4)) as (figure, (panel,)):
        panel.plot(*zip(*values, strict=True), "o", color=GREY, markersize=5, label="trial")
        on = sorted(values[place] for place in best)
        if on:
            panel.plot(*zip(*on, strict=True), "o-", color=VERMILION, markersize=7, linewidth=1.2, label="front")
        for axis, metric in ((panel.xaxis, metrics[0]), (panel.yaxis, metrics[1])):
            axis.set_label_text(axis_label(metric))
            if is_share(metric):
                in_percent(axis)
        panel.legend()
        headline(figure, f"Front of {axis_label(metrics[0])} and {axis_label(metrics[1])}, {len(values)} trials")
    return path


def _value_axis(panel: Axes, metric: str, named: bool = True) -> None:
    if named:
        panel.set_ylabel(axis_label(metric))
    if is_share(metric):
        in_percent(panel.yaxis)


def _hide(panels: Sequence[Axes], used: int) -> None:
    for panel in panels[used:]:
        panel.set_axis_off()


def _ring(panel: Axes, x: float, y: float) -> None:
    panel.plot([x], [y], "o", markersize=10, mfc="none", mec=VERMILION, markeredgewidth=1.6, zorder=5)


def _filled(panel: Axes, x: Sequence[float], y: Sequence[float], z: Sequence[float], low: float, high: float) -> None:
    import numpy as np

    scaled = [(np.array(v) - min(v)) / ((max(v) - min(v)) or 1.0) for v in (x, y)]
    if len(x) < 4 or abs(np.linalg.det(np.cov(scaled[0], scaled[1]))) < 1e-9:  # all on one line: there are no triangles
        return
    levels = np.linspace(low, high, 12) if high > low else 1
    panel.tricontourf(x, y, z, levels=levels, cmap=_SCALE, alpha=0.55)


def _ends(places: Sequence[float], parameter: Parameter) -> tuple[float, float]:
    if parameter.choices:
        return 0.0, float(max(1, len(parameter.choices) - 1))
    return (min(places), max(places)) if places else (0.0, 1.0)


def _share(place: float, low: float, high: float) -> float:
    return (place - low) / (high - low) if high > low else 0.5


def _marks(parameter: Parameter, low: float, high: float) -> list[tuple[float, str]]:
    if parameter.choices:
        return [(_share(float(i), low, high), choice) for i, choice in enumerate(parameter.choices)]
    at = [low, (low + high) / 2, high] if high > low else [low]
    return [(_share(place, low, high), f"{10**place if parameter.log else place:.3g}") for place in at]


def _decades() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, steps=[1, 2, 5, 10])


def _power(at: float) -> str:
    value = 10**at
    return f"{value:,.0f}" if 1 <= value < 1e5 else f"{value:.2g}".replace("e-0", "e-")
