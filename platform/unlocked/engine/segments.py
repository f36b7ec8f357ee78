"""What the modules report of a segment of steps: as metrics, and whether a number in it is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unlocked.engine.stage import SegmentStats

# series of a module -> its metric
_LOSSES = {"sg": "sg/loss", "local": "local/loss", "time": "sg/time_loss"}
_SERIES = {"loss": "the loss", "local": "a block's own loss"}  # others: of synthetic gradients


def train_loss(stats: Sequence[SegmentStats]) -> float:
    """Mean over the segment, of the last module."""
    return _mean(stats[-1].series["loss"])


def module_losses(stats: Sequence[SegmentStats]) -> dict[str, float]:
    """Means over the segment of what each module minimises beside its part of the task's loss."""
    return {f"{metric}/module_{k}": _mean(s.series[name]) for k, s in enumerate(stats)
            for name, metric in _LOSSES.items() if s.series.get(name)}


def module_times(stats: Sequence[SegmentStats], waited: Sequence[float], seconds: float) -> dict[str, float]:
    """Where a step of each module went, in milliseconds, and the share of all `seconds` so far that it `waited`."""
    values = {}
    for k, s in enumerate(stats):
        values[f"time/wait_fraction/module_{k}"] = waited[k] / seconds
        for what, spent in (("compute", s.computed), ("wait", s.waited), ("communicate", s.sent)):
            values[f"time/{what}_ms/module_{k}"] = 1e3 * spent / (s.stop - s.start)
    return values


def first_nonfinite(stats: Sequence[SegmentStats]) -> tuple[int, int, str] | None:
    """Step, module and what it is of the first number that is not finite; the lowest module's, of one step."""
    found = [(s.stop - len(values) + i, k, name) for k, s in enumerate(stats) for name, values in s.series.items()
             for i, value in enumerate(values) if not math.isfinite(value)]
    if not found:
        return None
    step, module, name = min(found)
    return step, module, _SERIES.get(name, "the synthetic-gradient loss")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
