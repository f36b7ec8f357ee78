"""What the modules report of a segment of steps: times and series, as metrics, and whether one is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unlocked.engine.spans import Span
from unlocked.schemes import Alignment

OF_BLOCK = "/block_"  # before the place of the block that a series is of, whichever module holds it
OF_PHASE = "@"  # between the name of a series and the phase that it was recorded in


@dataclass
class SegmentStats:
    """What one module reports of steps start..stop-1; times in seconds, as the worker's processor sees them."""

    start: int
    stop: int
    seconds: float
    waited: float  # for messages, or for room to send one
    sent: float  # in handing messages over, and in averaging gradients over replicas
    sg: float = 0.0  # on synthetic gradients and inputs: a part of `computed`
    series: dict[str, list[float]] = field(default_factory=dict)  # per step
    others: float = 0.0  # on other modules of the same worker
    spans: list[Span] = field(default_factory=list)  # if they are recorded

    @property
    def computed(self) -> float:
        """On this module: what is neither waiting nor sending."""
        return self.seconds - self.waited - self.sent - self.others


def series_means(stats: Sequence[SegmentStats]) -> dict[str, float]:
    """Means over the segment of all that the modules' learners recorded, by metric: `train/loss` of the last module,
    for any other series `<its name>/module_k`, or its name alone if it is that of a block (`error/block_3`); of several
    phases `train/loss/<phase>`, and their sum."""
    means, of_phases = {}, {}
    for k, s in enumerate(stats):
        for series, values in s.series.items():
            name, at, phase = series.partition(OF_PHASE)
            if not values:
                continue
            mean = sum(values) / len(values)
            if at and name == "loss":
                of_phases[f"train/loss/{phase}"] = mean
            elif name == "loss" and k == len(stats) - 1:
                means["train/loss"] = mean
            elif OF_BLOCK in name:
                means[name] = mean
            else:
                means[f"{name}/{phase}/module_{k}" if at else f"{name}/module_{k}"] = mean
    return means | of_phases | ({"train/loss": sum(of_phases.values())} if of_phases else {})


def alignments(probed: Mapping[int, Alignment]) -> dict[str, float]:
    """A probe's metrics."""
    return {
        f"{metric}/module_{k}": value
        for k, found in probed.items()
        for metric, value in (
            ("align", found.cosine),
            ("align/per_example", found.per_example),
            ("align/norm_ratio", found.norm_ratio),
        )
    }


def module_times(stats: Sequence[SegmentStats], waited: Sequence[float], seconds: float) -> dict[str, float]:
    """Where a step of each module went, in milliseconds, and the share of all `seconds` so far that it `waited`."""
    values = {}
    for k, s in enumerate(stats):
        values[f"time/wait_fraction/module_{k}"] = waited[k] / seconds
        for what, spent in (("compute", s.computed), ("wait", s.waited), ("communicate", s.sent)):
            values[f"time/{what}_ms/module_{k}"] = 1e3 * spent / (s.stop - s.start)
    return values


def first_nonfinite(stats: Sequence[SegmentStats], words: Mapping[str, str]) -> tuple[int, int, str] | None:
    """Step, module and name of the first number that is not finite; the lowest module's, of one step. `words`: for
    series by name, as their scheme has them."""
    found = [
        (max(s.start, s.stop - len(values) + i), k, name)
        for k, s in enumerate(stats)
        for name, values in s.series.items()
        for i, value in enumerate(values)
        if not math.isfinite(value)
    ]
    if not found:
        return None
    step, module, name = min(found)
    name, at, phase = name.partition(OF_PHASE)
    if name == "loss":
        return step, module, f"the loss of phase {phase}" if at else "the loss"
    of = name.partition(OF_BLOCK)[0]
    return step, module, f"{words[of]} ({name})" if of in words else f"the series {name}"
