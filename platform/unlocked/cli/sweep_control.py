"""Whether the best of a study is better than its frozen control: a scheme that is not has taught nothing that helps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from unlocked.config import Config
from unlocked.metrics import higher_is_better
from unlocked.runs.control import Control, control_of
from unlocked.studies.report import mean_of
from unlocked.tracking.identity import CONTROL

MORE = "NO better"


def against_control(config: Config, summary: dict[str, Any]) -> str:
    """A line; empty if nothing is complete, several metrics count, or no control is known."""
    best = summary.get("best")
    if best is None or len(config.sweep.metrics()) > 1:
        return ""
    value = best.get("mean", best.get("value"))
    if value is None or not math.isfinite(value):
        return ""
    control = _inside(config, summary) or _beside(config, best, Path(config.tracking.runs))
    if control is None or _is_control(config, best):
        return ""
    seeds = f"{control.seeds} seeds" if control.seeds > 1 else "one seed"
    reached = f"control: {CONTROL} reached {control.metric} {control.value:.4f} ({seeds})"
    if control.beaten_by(value):
        return f"{reached}; the best, {value:.4f}, is better by {abs(value - control.value):.4f}"
    return f"{reached}: the best, {value:.4f}, is {MORE}; what the scheme teaches the lower modules does not help"


def _inside(config: Config, summary: dict[str, Any]) -> Control | None:
    """The best of the study's own rows of the control."""
    metric = config.sweep.metrics()[0]
    rows = [row for row in summary["rows"] if row.is_control or row.group.get("scheme.name") == CONTROL]
    found = [(mean_of(row, metric), len(row.seeds)) for row in rows if math.isfinite(mean_of(row, metric))]
    if not found:
        return None
    return Control(metric, *(max if higher_is_better(metric) else min)(found))


def _beside(config: Config, best: dict[str, Any], runs: Path) -> Control | None:
    """Runs outside of the study of the configuration that was best."""
    names = best.get("runs") or []
    return control_of((runs / names[0]).absolute(), config.sweep.metrics()[0]) if names else None


def _is_control(config: Config, best: dict[str, Any]) -> bool:
    chosen = {**best.get("group", {}), **best.get("params", {})}
    return CONTROL in (chosen.get("scheme"), chosen.get("scheme.name", config.scheme.name))
