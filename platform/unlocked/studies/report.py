"""What a study found: its trials as groups over seeds, the best of them, a table and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unlocked.config import Config
from unlocked.studies.space import Point, Space
from unlocked.studies.study import Record, direction_of
from unlocked.tracking import Row, to_csv
from unlocked.tracking.compare import CONTROL
from unlocked.tracking.comparisons import comparison, comparison_against

TABLE, PLOT = "results.csv", "results.png"
# as runs are tagged, so that tables and plots of a study and of `unlocked compare` say the same words
_TAGS = {"scheme.name": "scheme", "model.name": "model", "data.name": "dataset", "parallel.stages": "stages",
         "parallel.replicas": "replicas", "scheme.lag": "lag"}


def group_keys(config: Config, space: Space) -> list[str]:
    """The keys that make a group: those of the plot, or where it names none all dimensions; never the seed."""
    plot = config.sweep.plot
    keys = plot.lines or [dimension.name for dimension in space.dimensions if dimension.keys != {"seed"}]
    return [*(key for key in keys if key != plot.x), *([plot.x] if plot.x is not None else [])]


def group_of(space: Space, point: Point, keys: Sequence[str]) -> dict[str, str]:
    """What each of the keys is at a point, under the name that runs are tagged with."""
    return {_TAGS.get(key, key): space.shown(point, key) for key in keys}


def metrics_of(config: Config) -> list[str]:
    """What the table shows: what best means, what is plotted, and the speed."""
    wanted = [config.sweep.metric, config.sweep.plot.y or config.sweep.metric, "test/accuracy", "time/steps_per_second"]
    return list(dict.fromkeys(wanted))


def rows_of(config: Config, space: Space, records: Iterable[Record]) -> list[Row]:
    """A row per group of completed trials, one value per seed; the best first, the frozen control last."""
    keys, rows = group_keys(config, space), dict[tuple[str, ...], Row]()
    for record in records:
        if record.summary is not None:
            group = group_of(space, record.point, keys)
            row = rows.setdefault(tuple(group.values()), Row(group, control=record.summary["scheme"] == CONTROL))
            row.seeds[str(record.summary["seed"])] = record.summary["metrics"]
    sign = -1.0 if direction_of(config) == "maximize" else 1.0
    return sorted(rows.values(), key=lambda row: (row.is_control, sign * mean_of(row, config.sweep.metric)))


def best_of(rows: Sequence[Row]) -> Row | None:
    """The group with the best mean, not the luckiest seed; the control only while there is no other."""
    return rows[0] if rows else None


def mean_of(row: Row, metric: str) -> float:
    summary = row.summary(metric)
    return summary.mean if summary else math.nan


def write_report(config: Config, rows: Sequence[Row], folder: Path) -> dict[str, Path]:
    """The table as CSV and the plot as PNG in a folder; the paths of what was written."""
    metric = config.sweep.plot.y or config.sweep.metric
    written: dict[str, Any] = {"table": to_csv(rows, folder / TABLE, metrics_of(config)),
                               "plot": draw(config, rows, folder / PLOT, metric)}
    return {name: path for name, path in written.items() if path is not None}


def draw(config: Config, rows: Sequence[Row], path: Path, metric: str) -> Path | None:
    x = config.sweep.plot.x
    return comparison_against(rows, _TAGS.get(x, x), path, metric) if x is not None else comparison(rows, path, metric)
