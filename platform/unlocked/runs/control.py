"""The frozen control of a run: what runs of the same configuration reached in which only the last module learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unlocked.errors import UnlockedError
from unlocked.files import read_json
from unlocked.metrics import higher_is_better
from unlocked.runs.folder import read_config

CONTROL = "frozen"
# what must be equal; rates are tuned for each scheme, and a scheme has its own partition
_SAME = ("data", "task", "objective", "model", "init", "nets", "transfer")
_SAME_OF_TRAIN = ("epochs", "steps", "curriculum")


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

    `run` is the folder of a run, `metric` such as `test/accuracy`.
    """
    own = _setting(_config(run))
    found: dict[int, float] = {}
    for folder in sorted(run.parent.glob(f"*-{CONTROL}-s*"), key=lambda folder: folder.name):
        summary = _summary(folder)
        value = summary.get("metrics", {}).get(metric)
        if folder != run and value is not None and own and _setting(_config(folder)) == own:
            found[summary["seed"]] = value
    return Control(metric, fmean(found.values()), len(found)) if found else None


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "summary.json")
    except (OSError, ValueError, UnlockedError):
        return {}
    return found if isinstance(found, dict) and found.get("scheme") == CONTROL else {}


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_config(folder)
    except (OSError, UnlockedError):
        return {}


def _setting(config: Mapping[str, Any]) -> dict[str, Any]:
    train = config.get("train") or {}
    kept = {key: config[key] for key in _SAME if key in config}
    return kept | {f"train.{key}": train.get(key) for key in _SAME_OF_TRAIN} if kept else {}
