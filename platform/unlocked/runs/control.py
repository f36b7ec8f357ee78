"""The frozen control of a run: what runs of the same setting reached in which only the last module learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unlocked.errors import UnlockedError
from unlocked.files import read_json
from unlocked.metrics import higher_is_better
from unlocked.tracking.identity import CONTROL


@dataclass(frozen=True)
class Control:
    """The mean over the seeds of its runs."""

    metric: str
    value: float
    seeds: int

    def beaten_by(self, value: float) -> bool:
        return value > self.value if higher_is_better(self.metric) else value < self.value


def control_of(run: Path, metric: str) -> Control | None:
    """Of the finished runs beside `run`, the newest of each seed; None if there is none with that metric.

    `run` is the folder of a finished run, `metric` such as `test/accuracy`. A control is of the same setting
    (`setting_hash`), as on the pages of the dashboard.
    """
    setting = _summary(run).get("setting")
    found: dict[int, float] = {}
    for folder in sorted(run.parent.glob(f"*-{CONTROL}-s*"), key=lambda folder: folder.name):
        summary = _summary(folder)
        value = summary.get("metrics", {}).get(metric)
        is_control = summary.get("scheme") == CONTROL and summary.get("setting") == setting
        if setting and folder != run and is_control and value is not None:
            found[summary["seed"]] = value
    return Control(metric, fmean(found.values()), len(found)) if found else None


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "summary.json")
    except (OSError, ValueError, UnlockedError):
        return {}
    return found if isinstance(found, dict) else {}
