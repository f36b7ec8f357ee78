"""Learning rates as functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from unlocked.schema.keys import OptimizerConfig


def lr_factor(config: OptimizerConfig, steps: int) -> Callable[[int], float] | None:
    """What the learning rate is multiplied by at each step; None when it never changes.

    `linear` and `cosine` fall from 1 at the end of the warm-up to 0 after the last of `steps` steps.
    """
    if config.schedule == "constant" and config.warmup == 0:
        return None
    warmup = config.warmup

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return factor
