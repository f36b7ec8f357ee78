"""Finished runs side by side: mean and spread over seeds of what each group reached, from MLflow."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.errors import ConfigError
from unlocked.tracking.finished import FinishedRun, finished_runs

if TYPE_CHECKING:
    from unlocked.rich_text import PlainTable

GROUP_BY = ("model", "scheme")
METRICS = ("test/accuracy", "best/val_accuracy", "time/steps_per_second", "time/wait_fraction")
CONTROL = "frozen"
ABSENT = "-"                                      # a key that a group of runs does not have
# never averaged over: they join the group instead
_SETTINGS = ("dataset", "stages", "replicas", "lag", "parallel.schedule", "scheme.synthetic_inputs")
_HEADINGS = {
    "test/accuracy": "test accuracy",
    "best/val_accuracy": "best validation",
    "time/steps_per_second": "steps/s",
    "time/wait_fraction": "waiting",
}


@dataclass(frozen=True)
class Summary:
    """One metric over the seeds of a group. `std` is that of the sample (n - 1), 0 for one seed."""

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass
class Row:
    """One group of runs: `group` is what they share, one run per seed counts."""

    group: dict[str, str]
    seeds: dict[str, dict[str, float]] = field(default_factory=dict)      # seed -> metric -> value
    superseded: int = 0
    control: bool = False  # where no key named scheme says so
    feasible: bool = True  # within the constraints of its study

    @property
    def label(self) -> str:
        """The values of the group; of numbers and of single keys with their name: a bare 2 would say nothing."""
        return " ".join(f"{key} {value}" if key in _SETTINGS[1:] or "." in key else value
                        for key, value in self.group.items() if value != ABSENT)

    @property
    def is_control(self) -> bool:
        return self.control or self.group.get("scheme") == CONTROL

    def values(self, metric: str) -> list[float]:
        """The metric of each seed that has it."""
        found = (metrics.get(metric, math.nan) for metrics in self.seeds.values())
        return [value for value in found if math.isfinite(value)]

    def summary(self, metric: str) -> Summary | None:
        values = self.values(metric)
        if not values:
            return None
        n, mean = len(values), math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
        return Summary(n, mean, math.sqrt(variance), min(values), max(values))


def compare(
    source: str | Path,
    experiment: str | None = None,
    group_by: Sequence[str] = GROUP_BY,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
    trials: bool = False,
) -> list[Row]:
    """Rows of finished runs, best `metrics[0]` first, the frozen control last.

    Args:
        source: a tracking address, or the runs root with its `mlflow.db`.
        experiment: its name; None takes all.
        group_by: tags (or params, `optimizer.lr`) that make a group. Dataset, stages, replicas, lag,
            schedule and synthetic inputs join the group by themselves when they differ inside one: a mean over two
            data sets says nothing.
        names: only runs with these run names.
        metrics: finals to summarise; `time/wait_fraction` is the mean over the modules.
        trials: also count the trials of sweeps (runs that have a parent).

    Two runs of one group and seed: the later counts, the earlier is counted in `Row.superseded`.
    Raises ConfigError for an unknown experiment or group, UnlockedError when there is no database.
    """
    runs = finished_runs(source, experiment, metrics)
    wanted = set(names) if names else None
    runs = [run for run in runs if run.metrics and (trials or not run.is_trial)]
    runs = [run for run in runs if wanted is None or run.name in wanted]
    keys = list(group_by)
    for key in keys:
        if runs and all(run.word(key) == "" for run in runs):
            raise ConfigError(f"group-by: no run has a tag or param '{key}' (usual: model, scheme, dataset)")
    keys += [key for key in _SETTINGS if key not in keys and _differs_inside(runs, keys, key)]
    rows: dict[tuple[str, ...], Row] = {}
    for run in sorted(runs, key=lambda run: run.started):
        group = {key: run.word(key) or ABSENT for key in keys}
        row = rows.setdefault(tuple(group.values()), Row(group))
        row.superseded += run.seed in row.seeds
        row.seeds[run.seed] = run.metrics
    return sorted(rows.values(), key=lambda row: (row.is_control, -_mean(row, metrics[0]), row.label))


def render(rows: Sequence[Row], metrics: Sequence[str] = METRICS) -> PlainTable:
    """A rich table; its caption explains the numbers and says how many runs were superseded."""
    from unlocked.rich_text import PlainTable

    shown = [metric for metric in metrics if any(row.values(metric) for row in rows)]
    table = PlainTable(caption=_caption(rows), caption_justify="left", title_justify="left")
    for key in rows[0].group if rows else ():
        table.add_column(key)
    table.add_column("seeds", justify="right")
    for metric in shown:
        table.add_column(_HEADINGS.get(metric, metric), justify="right")
    for row in rows:
        words = [f"{value} (control)" if key == "scheme" and row.is_control else value
                 for key, value in row.group.items()]  # fmt: skip
        if words and not row.feasible:
            words[0] += " (infeasible)"
        cells = [_cell(row.summary(metric), metric) for metric in shown]
        style = "dim" if row.is_control or not row.feasible else None
        table.add_row(*words, str(len(row.seeds)), *cells, style=style)
    return table


def to_csv(rows: Sequence[Row], path: Path, metrics: Sequence[str] = METRICS) -> Path:
    """One line per group: keys, seeds, superseded runs, then n, mean, std, min, max of each metric."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        keys = list(rows[0].group) if rows else []
        parts = ("n", "mean", "std", "min", "max")
        columns = [f"{metric} {part}" for metric in metrics for part in parts]
        out.writerow([*keys, "seeds", "superseded", *columns])
        for row in rows:
            cells: list[Any] = []
            for metric in metrics:
                s = row.summary(metric)
                cells += [s.n, s.mean, s.std, s.low, s.high] if s else [0, "", "", "", ""]
            out.writerow([*row.group.values(), len(row.seeds), row.superseded, *cells])
    return path


def _differs_inside(runs: Sequence[FinishedRun], keys: Sequence[str], key: str) -> bool:
    seen: dict[tuple[str, ...], str] = {}
    groups = ((tuple(run.word(name) for name in keys), run.word(key)) for run in runs)
    return any(seen.setdefault(group, value) != value for group, value in groups)


def _mean(row: Row, metric: str) -> float:
    summary = row.summary(metric)
    return summary.mean if summary else -math.inf


def _cell(summary: Summary | None, metric: str) -> str:
    if summary is None:
        return "-"
    percent = "accuracy" in metric or metric.endswith("wait_fraction")

    def number(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

    unit = "%" if percent else ""
    if summary.n == 1:
        return f"{number(summary.mean)}{unit}"
    spread = f"[{number(summary.low)}, {number(summary.high)}]"
    return f"{number(summary.mean)} ± {number(summary.std)}{unit} {spread}"


def _caption(rows: Sequence[Row]) -> str:
    words = "mean ± standard deviation over seeds [lowest, highest]"
    if superseded := sum(row.superseded for row in rows):
        runs = "run" if superseded == 1 else "runs"
        words += f"\n{superseded} earlier {runs} of a repeated seed superseded"
    return words
