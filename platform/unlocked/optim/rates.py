"""Learning rates as functions of the step alone: what `optimizer.lr` is multiplied by, for every schedule.

With s steps after the warm-up, of n in all after it, and `every` steps of `optimizer.decay_every`:

    constant     1
    step         decay^floor(s / every)
    exponential  decay^(s / every)
    inverse      1 / (1 + s / every)                     "1/t"
    linear       1 - s / n
    cosine       (1 + cos(pi s / n)) / 2
    restarts     cosine over cycles of every, every g, every g^2, ... steps (SGDR, Loshchilov & Hutter 2017)
    one_cycle    up from 1/25 to 1 by a cosine over 0.3 n steps, then down to 4e-6 (Smith 2018; torch's OneCycleLR)
    plateau      1, times decay after every `plateau_patience` evaluations without a better one: by the driver
"""

from __future__ import annotations

import math
from collections.abc import Callable

from unlocked.schema.keys import OptimizerConfig

ONE_CYCLE = (0.3, 1 / 25, 1 / 25e4)  # share of the steps that rise; first and last factor
BY_LENGTH = ("linear", "cosine", "one_cycle")  # schedules that depend on the length of the run
BY_EVERY = ("step", "exponential", "inverse", "restarts")  # so do these, if decay_every is null


def lr_factor(config: OptimizerConfig, steps: int) -> Callable[[int], float] | None:
    """What the learning rate is multiplied by at each of `steps` steps; None when it never changes.

    Warm-up rises to 1 in `warmup` steps, after which the schedule begins.
    """
    if config.schedule == "constant" and config.warmup == 0:
        return None
    warmup, left = config.warmup, max(1, steps - config.warmup)
    after = _after_warmup(config, left)

    def factor(step: int) -> float:
        return (step + 1) / (warmup + 1) if step < warmup else after(step - warmup)

    return factor


def depends_on_length(config: OptimizerConfig) -> bool:
    """Whether a longer run has other rates from the start."""
    return config.schedule in BY_LENGTH or (config.schedule in BY_EVERY and config.decay_every is None)


def _after_warmup(config: OptimizerConfig, n: int) -> Callable[[int], float]:
    decay, every = config.decay, config.decay_every or max(1, n // 3)
    forms: dict[str, Callable[[int], float]] = {
        "constant": lambda s: 1.0,
        "plateau": lambda s: 1.0,
        "step": lambda s: decay ** (s // every),
        "exponential": lambda s: decay ** (s / every),
        "inverse": lambda s: 1.0 / (1.0 + s / every),
        "linear": lambda s: 1.0 - min(1.0, s / n),
        "cosine": lambda s: _cosine(min(1.0, s / n)),
        "restarts": lambda s: _cosine(_in_cycle(s, every, config.cycle_growth)),
        "one_cycle": lambda s: _one_cycle(s, n),
    }
    return forms[config.schedule]


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _in_cycle(s: int, every: int, growth: int) -> float:
    """How much of its cycle is done."""
    length = every
    while s >= length:
        s, length = s - length, length * growth
    return s / length


def _one_cycle(s: int, n: int) -> float:
    rise, first, last = ONE_CYCLE
    peak, end = rise * n - 1, n - 1  # as torch has it
    if s <= peak:
        return 1.0 + (first - 1.0) * _cosine(s / peak) if peak > 0 else 1.0
    return last + (1.0 - last) * _cosine(min(1.0, (s - peak) / max(1e-9, end - peak)))
