"""What a study found: its trials as rows of a table, the best of them, plots, and a configuration to train from.

runs/<study>/trials.csv    every trial: number, state, parameters, values, seconds, run folders, failure
runs/<study>/results.csv   a grid's groups over their seeds, results.png as a figure
runs/<study>/matrix.md     a grid of presets that promise something (`expect`): models and schemes, and what holds
runs/<study>/plots/        a search's history, importances, slices, contours, ... as PNG and SVG; all, interactive, in
                           study.html
runs/<study>/best.yaml     `unlocked train runs/<study>/best.yaml` repeats the best trial
runs/<study>/pareto/       of several metrics, a file for every trial that no other is better than in all of them
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unlocked.comparing.rows import Row
from unlocked.comparing.table import to_csv
from unlocked.config import Config
from unlocked.drawing.comparisons import comparison, comparison_against
from unlocked.drawing.optuna import draw_search
from unlocked.drawing.style import about, with_svg
from unlocked.files import write_whole, written_whole
from unlocked.studies.expectations import MATRIX, Cell, cells_of, write_table
from unlocked.studies.result import PLOTS, TRIALS
from unlocked.studies.search import is_grid, words_of
from unlocked.studies.space import Point, Space, brief, name_of
from unlocked.studies.study import Record, Study, directions_of
from unlocked.tracking.identity import CONTROL, TAG_OF

TABLE, PLOT, BEST, PARETO = "results.csv", "results.png", "best.yaml", "pareto"


def group_keys(config: Config, space: Space) -> list[str]:
    """The keys that make a group: those of the plot, or if it names none all dimensions; never the seed."""
    plot = config.sweep.plot
    keys = plot.lines or [dimension.name for dimension in space.dimensions if dimension.keys != {"seed"}]
    return [*(key for key in keys if key != plot.x), *([plot.x] if plot.x is not None else [])]


def group_of(space: Space, point: Point, keys: Sequence[str]) -> dict[str, str]:
    """What each of the keys is at a point, under the name that runs are tagged with."""
    return {TAG_OF.get(key, key): space.shown(point, key) for key in keys}


def metrics_of(config: Config) -> list[str]:
    """What the table shows: what best means, what is plotted, and the speed."""
    sweep = config.sweep
    wanted = [*sweep.metrics(), sweep.plot.y or sweep.metrics()[0], "test/accuracy", "time/steps_per_second"]
    return list(dict.fromkeys(wanted))


class Leader:
    """The best so far, trial by trial: of a grid the feasible group with the best mean over its seeds, not the luckiest
    seed and the control only while there is no other; of a search the best feasible trial."""

    def __init__(self, config: Config, space: Space, records: Iterable[Record]):
        self._config, self._space = config, space
        self._keys, self._grid = group_keys(config, space), is_grid(config)
        self._metric = config.sweep.metrics()[0]
        self._sign = -1.0 if directions_of(config)[0] == "maximize" else 1.0
        self._rows: dict[tuple[str, ...], Row] = {}
        self._best: tuple[tuple[bool, bool, float], Row] | None = None
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        if not record.summaries:
            return
        group = group_of(self._space, record.point, self._keys)
        if not self._grid:
            group = {"trial": str(record.number), **{key: brief(value) for key, value in group.items()}}
        control = record.summaries[0]["scheme"] == CONTROL
        row = self._rows.setdefault(tuple(group.values()), Row(group, control=control and self._grid))
        row.seeds |= {str(summary["seed"]): summary["metrics"] for summary in record.summaries}
        row.feasible = all(
            bound.get("min", -math.inf) <= mean_of(row, metric) <= bound.get("max", math.inf)
            for metric, bound in self._config.sweep.constraints.items()
        )
        if not self._grid and row.feasible:
            rank = self._rank(row)
            self._best = (rank, row) if self._best is None or rank < self._best[0] else self._best

    def rows(self) -> list[Row]:
        """A row per group of completed trials, or per trial; the best first, a grid's frozen control and then what
        is beyond the constraints last."""
        return sorted(self._rows.values(), key=self._rank)

    def row(self) -> Row | None:
        if not self._grid:
            return self._best[1] if self._best else None
        return min((row for row in self._rows.values() if row.feasible), key=self._rank, default=None)

    def best(self) -> dict[str, float]:
        """As metrics of the study's own run: the best so far, under the name that it has in the runs."""
        row = self.row()
        return {self._metric: mean_of(row, self._metric)} if row else {}

    def words(self) -> str | None:
        row = self.row()
        if row is None:
            return None
        value = f"{mean_of(row, self._metric):.4f}"
        if not self._grid:
            return f"{value} trial {row.group['trial']}"
        return f"{value} {row.label}" + (f" ({len(row.seeds)} seeds)" if len(row.seeds) > 1 else "")

    def _rank(self, row: Row) -> tuple[bool, bool, float]:
        return not row.feasible, self._grid and row.is_control, self._sign * mean_of(row, self._metric)


def mean_of(row: Row, metric: str) -> float:
    summary = row.summary(metric)
    return summary.mean if summary else math.nan


def summary_of(config: Config, space: Space, study: Study, folder: Path) -> dict[str, Any]:
    """Numbers of trials, a row for each or for each group, and the best."""
    records = list(study.records())
    return _summary(config, space, study, folder, records, _cells(config, space, records))


def _cells(config: Config, space: Space, records: Sequence[Record]) -> list[Cell]:
    return cells_of(space, records) if is_grid(config) else []


def _summary(
    config: Config, space: Space, study: Study, folder: Path, records: Sequence[Record], cells: Sequence[Cell]
) -> dict[str, Any]:
    leader = Leader(config, space, records)
    metrics, front = config.sweep.metrics(), study.best()
    row = leader.row()
    best: dict[str, Any] | None = None
    if is_grid(config) and row is not None:
        best = {"group": row.group, "mean": mean_of(row, metrics[0]), "seeds": len(row.seeds)}
    elif len(metrics) == 1 and front:
        record = next(record for record in records if record.number == front[0])
        best = {
            "trial": record.number,
            "params": record.point,
            "value": (record.values or [math.nan])[0],
            "runs": record.runs,
        }
    summary: dict[str, Any] = {
        "study": folder.name,
        "study_dir": str(folder),
        "trials": len(records),
        "complete": sum(bool(record.summaries) for record in records),
        "pruned": sum(record.pruned is not None for record in records),
        "metric": config.sweep.metric,
        "rows": leader.rows(),
        "failed": {name_of(record.point): record.failure for record in records if record.failure is not None},
        "best": best,
    }
    if is_grid(config):
        summary["broken"] = [line for cell in cells for line in cell.broken()]
        summary["promises"] = sum(len(cell.bounds) for cell in cells)
    if len(metrics) > 1:
        summary["pareto"] = [
            {"trial": record.number, "params": record.point, "values": record.values}
            for record in records
            if record.number in front
        ]
    return summary


def write_report(config: Config, space: Space, study: Study, folder: Path) -> dict[str, Any]:
    """Writes all files; the summary, with their paths, by name if they have one, and all of them as `files`."""
    records = list(study.records())
    cells = _cells(config, space, records)
    summary = _summary(config, space, study, folder, records, cells)
    found = {"trials_table": _write_trials(config, space, records, folder / TRIALS)}
    files = [found["trials_table"]]
    subject = "  ·  ".join([folder.name, f"{config.model['name']} on {config.data.name}", words_of(config)])
    if is_grid(config):
        if summary["promises"]:
            found["matrix"] = write_table(cells, folder / MATRIX)
        rows, metric = summary["rows"], config.sweep.plot.y or config.sweep.metrics()[0]
        if rows:
            found["table"] = to_csv(rows, folder / TABLE, metrics_of(config))
            with about(subject):
                plot = _draw_grid(config, rows, folder / PLOT, metric)
            if plot is not None:
                found["plot"] = plot
                files += with_svg([plot])
    elif summary["complete"]:
        plots = draw_search(study.optuna, config.sweep.metrics(), folder / PLOTS, subject)
        files += plots
        found |= {"plot": plots[0]} if plots else {}
    found |= _write_best(config, space, records, summary, folder)
    files += [path for path in found.values() if path not in files and path.is_file()]
    return summary | {name: str(path) for name, path in found.items()} | {"files": [str(path) for path in files]}


def _draw_grid(config: Config, rows: Sequence[Row], path: Path, metric: str) -> Path | None:
    x = config.sweep.plot.x
    return comparison_against(rows, TAG_OF.get(x, x), path, metric) if x is not None else comparison(rows, path, metric)


def _write_trials(config: Config, space: Space, records: Sequence[Record], path: Path) -> Path:
    dimensions, metrics = [dimension.name for dimension in space.dimensions], config.sweep.metrics()
    with written_whole(path) as part, part.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["number", "state", *dimensions, *metrics, "feasible", "seconds", "runs", "failure"])
        for record in records:
            state = (
                "failed"
                if record.failure is not None
                else "complete"
                if record.pruned is None
                else (f"pruned at epoch {record.pruned}")
            )
            values = record.values or []
            table.writerow(
                [
                    record.number,
                    state,
                    *(record.point.get(name, "") for name in dimensions),
                    *values,
                    *[""] * (len(metrics) - len(values)),
                    record.feasible,
                    f"{record.seconds:.3f}",
                    " ".join(record.runs),
                    record.failure or "",
                ]
            )
    return path


def _write_best(
    config: Config, space: Space, records: Sequence[Record], summary: dict[str, Any], folder: Path
) -> dict[str, Path]:
    """The very configurations that the best trials trained from."""
    runs = folder.parent
    if "pareto" in summary:
        shutil.rmtree(folder / PARETO, ignore_errors=True)
        front = {entry["trial"] for entry in summary["pareto"]}
        for record in records:
            if record.number in front and record.runs:
                (folder / PARETO).mkdir(exist_ok=True)
                _copy(runs / record.runs[0], folder / PARETO / f"trial-{record.number:04d}.yaml", record)
        return {"pareto_configs": folder / PARETO} if front else {}
    best = summary["best"]
    if best is None:
        return {}
    keys = group_keys(config, space)
    fits = [
        record
        for record in records
        if record.runs
        and record.summaries
        and (
            record.number == best["trial"] if "trial" in best else group_of(space, record.point, keys) == best["group"]
        )
    ]
    return {"best_config": _copy(runs / fits[0].runs[0], folder / BEST, fits[0])} if fits else {}


def _copy(run: Path, path: Path, record: Record) -> Path:
    """The resolved configuration of a run, with a line on where it is from."""
    return write_whole(path, f"# trial {record.number}: {name_of(record.point)}\n" + (run / "config.yaml").read_text())
