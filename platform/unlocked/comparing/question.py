"""What is asked of finished runs: which, by which keys and metrics, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GROUP_BY = ("model", "scheme")


@dataclass(frozen=True)
class Question:
    """
    Args:
        group_by: tags or configuration keys that come first; runs that differ in anything else are apart all the same.
        names: only runs of these presets, configuration names or run folders; with `*` and `?`.
        metrics: what is summarised, `accuracy` or `test/accuracy`; a metric of modules by its mean. None: what the task
            follows, on the test split and the best on the validation split, speed and waiting.
        trials: also count the trials of sweeps (runs that have a parent).
        conditions: `key=value`, of which every key must hold for one of its values.
        sort: a metric that is shown (the better first), else a key (the lesser first), instead of the first metric;
            the control then stands where it belongs.
        baseline: a scheme to which every row's differences are taken, over the seeds that both have.
    """

    group_by: Sequence[str] = GROUP_BY
    names: Sequence[str] | None = None
    metrics: Sequence[str] | None = None
    trials: bool = False
    conditions: Sequence[str] = ()
    sort: str | None = None
    baseline: str | None = None


ALL = Question()
