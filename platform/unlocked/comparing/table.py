"""Rows of runs as a table for people, and as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.colors import scheme_color
from unlocked.comparing.rows import Row, superseded_words
from unlocked.comparing.statistics import Summary
from unlocked.metrics import heading, is_share, limits
from unlocked.tracking.captions import brief, short_names

if TYPE_CHECKING:
    from unlocked.rich_text import PlainTable

SPREAD = "mean ± standard deviation over n seeds [lowest, highest]; 95 %: interval of the mean (Student's t)"
SHORT = "mean ± standard deviation over the seeds; ranges and intervals: the CSV, or a wider terminal"
TWO = "n=2 says little: the interval of two seeds is 12.7 times as wide as their range"
_LONGEST = 40  # letters of a value


def render(
    rows: Sequence[Row],
    metrics: Sequence[str] | None = None,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    hide: Sequence[str] = (),
    baseline: str | None = None,
    short: bool = False,
) -> PlainTable:
    """A rich table; its caption explains the numbers and adds the notes.

    `metrics`: None shows all that the rows have. `hide`: keys that the title has said. `baseline`: the scheme of
    `Row.differences`, which then have columns. `short`: cells have the mean and the deviation alone.
    """
    from rich import box

    from unlocked.rich_text import PlainTable

    shown = [metric for metric in metrics_of(rows, metrics) if any(row.values(metric) for row in rows)]
    compared = [metric for metric in shown if any(metric in row.differences for row in rows)]
    keys = [key for key in (rows[0].group if rows else ()) if key not in hide]
    counts = {s.n for row in rows for m in shown for s in (row.summary(m), row.differences.get(m)) if s}
    words = [SHORT if short else SPREAD] * (max(counts, default=1) > 1) + [TWO] * (2 in counts)
    if not notes and (superseded := sum(row.superseded for row in rows)):
        words.append(superseded_words(superseded))
    frame = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False} if short else {}
    table = PlainTable(
        title=title, caption="\n".join([*words, *notes]) or None, caption_justify="left", title_justify="left", **frame
    )
    for name in short_names(keys).values():
        table.add_column(name)
    table.add_column("n" if short else "seeds", justify="right")
    for metric in shown:
        table.add_column(heading(metric).replace(" ", "\n") if short else heading(metric), justify="right")
        if metric in compared:
            table.add_column(f"minus {baseline}{', points' * is_share(metric)}", justify="right")
    between = "\n" if short else " "
    written = {key: _written({row.group[key] for row in rows}) for key in keys}
    for row in rows:
        cells = [
            f"{row.group[key]}{between}(control)"
            if key == "scheme" and row.is_control
            else written[key][row.group[key]]
            for key in keys
        ]
        if cells and not row.feasible:
            cells[0] += " (infeasible)"
        cells.append(str(len(row.seeds)))
        for metric in shown:
            cells.append(cell(row.summary(metric), metric, short))
            if metric in compared:
                cells.append(_difference(row.differences.get(metric), metric))
        dim = row.is_control or not row.feasible
        table.add_row(*_coloured(cells, keys, dim), style="dim" if dim else None)
    return table


def _coloured(cells: list[str], keys: Sequence[str], dim: bool) -> list[Any]:
    """With the scheme in its colour."""
    from rich.text import Text

    if dim or "scheme" not in keys:
        return cells
    at = keys.index("scheme")
    return [*cells[:at], Text(cells[at], scheme_color(cells[at])), *cells[at + 1 :]]


def to_csv(rows: Sequence[Row], path: Path, metrics: Sequence[str] | None = None) -> Path:
    """One line per group: keys, seeds, superseded runs, then of each metric n, mean, std, min, max, the 95 % interval,
    and if there is a baseline the paired difference with its n and interval."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = metrics_of(rows, metrics)
    compared = [metric for metric in metrics if any(metric in row.differences for row in rows)]
    keys = list(dict.fromkeys(key for row in rows for key in row.group))
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        parts = ("n", "mean", "std", "min", "max", "95% low", "95% high")
        of_difference = ("difference n", "difference", "difference 95% low", "difference 95% high")
        out.writerow(
            [
                *keys,
                "seeds",
                "superseded",
                *(f"{metric} {part}" for metric in metrics for part in parts),
                *(f"{metric} {part}" for metric in compared for part in of_difference),
            ]
        )
        for row in rows:
            cells: list[Any] = [*(row.group.get(key, "") for key in keys), len(row.seeds), row.superseded]
            for metric in metrics:
                s = row.summary(metric)
                ends = s and _ends(s, *limits(metric))
                cells += [s.n, s.mean, s.std, s.low, s.high, *(ends or ("", ""))] if s else [0, *[""] * 6]
            for metric in compared:
                d = row.differences.get(metric)
                cells += [d.n, d.mean, *(_ends(d, *_limits_of_difference(metric)) or ("", ""))] if d else [0, *[""] * 3]
            out.writerow(cells)
    return path


def metrics_of(rows: Sequence[Row], metrics: Sequence[str] | None = None) -> list[str]:
    """The given ones, else all of the rows."""
    if metrics is not None:
        return list(metrics)
    return list(dict.fromkeys(key for row in rows for values in row.seeds.values() for key in values))


def cell(summary: Summary | None, metric: str, short: bool = False) -> str:
    """What a table says of a metric of a row."""
    if summary is None:
        return "-"
    unit = "%" if is_share(metric) else ""
    if summary.n == 1:
        return f"{_number(summary.mean, metric)}{unit}{'' if short else ' (1 seed)'}"
    digits = _decimals(summary, metric)
    mean, std, low, high = (
        _number(value, metric, digits) for value in (summary.mean, summary.std, summary.low, summary.high)
    )
    if short:
        return f"{mean} ± {std}{unit}"
    return f"{mean} ± {std}{unit} [{low}, {high}], n={summary.n}\n95 %: {_interval(summary, metric, *limits(metric))}"


def _difference(summary: Summary | None, metric: str) -> str:
    if summary is None:
        return "-"
    mean = f"{'+' * (summary.mean > 0)}{_number(summary.mean, metric, _decimals(summary, metric))}"
    if summary.n == 1:
        return f"{mean} (1 seed)"
    return f"{mean}, n={summary.n}\n95 %: {_interval(summary, metric, *_limits_of_difference(metric))}"


def said(summary: Summary, metric: str, difference: bool = False) -> tuple[str, str]:
    """The mean with its unit and the 95 % interval as words, empty for one seed. Differences of shares are in points.

    >>> from unlocked.comparing.statistics import summarise
    >>> said(summarise([0.5, 0.6]), "test/accuracy"), said(summarise([0.5, 0.6]), "test/accuracy", difference=True)
    (('55.0 %', '0.0 to 100.0'), ('+55.0 points', '-8.5 to 118.5'))
    """
    digits = _decimals(summary, metric)
    sign = "+" if difference and summary.mean > 0 else ""
    unit = "" if not is_share(metric) else " points" if difference else " %"
    ends = _limits_of_difference(metric) if difference else limits(metric)
    interval = _interval(summary, metric, *ends) if summary.n > 1 else ""
    return f"{sign}{_number(summary.mean, metric, digits)}{unit}", interval


def _limits_of_difference(metric: str) -> tuple[float, float]:
    low, high = limits(metric)
    return low - high, high - low


def _ends(summary: Summary, least: float, most: float) -> tuple[float, float] | None:
    """Of the interval, as far as the metric can be: a share of 131 % says nothing."""
    found = summary.interval
    return found and (max(found[0], least), min(found[1], most))


def _interval(summary: Summary, metric: str, least: float, most: float) -> str:
    low, high = _ends(summary, least, most) or (summary.mean, summary.mean)
    digits = _decimals(summary, metric)
    return f"{_number(low, metric, digits)} to {_number(high, metric, digits)}"


def _decimals(summary: Summary, metric: str) -> int | None:
    """Of the mean and what belongs to it, so that two digits of the deviation are seen (of a share one); None if
    nothing deviates."""
    share = is_share(metric)
    std = 100 * summary.std if share else summary.std
    if summary.n < 2 or not 1e-5 <= std < math.inf:
        return None
    first = -math.floor(math.log10(std))
    return max(1, first) if share else max(0, first + 1)


def _number(value: float, metric: str, decimals: int | None = None) -> str:
    if is_share(metric):
        return f"{100 * value:.{1 if decimals is None else decimals}f}"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _written(values: Collection[str]) -> dict[str, str]:
    """The values of one key as the table shows them: numbers by four digits, unless two would look alike."""
    short = {value: brief(value) for value in values}
    return {value: _cut(short[value] if len({*short.values()}) == len(short) else value) for value in values}


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
