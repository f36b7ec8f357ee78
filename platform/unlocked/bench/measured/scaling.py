"""What a cut into K modules gains: every contender on its own Ray workers, in turn within each round.

All have the same network, batch size and optimiser, one thread per worker (but for `backprop_all_threads`) and
the same number of steps per round. Idle workers take no CPU. `contenders.py` says who takes part.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from unlocked.bench.measured import noise as _noise  # noqa: F401  (registers the data)
from unlocked.bench.measured import transformer as _transformer  # noqa: F401  (registers the model)
from unlocked.bench.measured.contenders import DECOUPLED, contenders
from unlocked.bench.measured.deepspeed_pipeline import NAME, DeepSpeedPipeline
from unlocked.bench.measured.measure import Spread, in_rounds, paired
from unlocked.bench.measured.solo import memory, run_alone
from unlocked.config import Config, load_config
from unlocked.engine.segments import SegmentStats
from unlocked.errors import ConfigError
from unlocked.launch.cluster import start_ray
from unlocked.launch.ray_group import RayGroup
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES
from unlocked_models.contract.registry import unknown

CASES = Path(__file__).parent / "cases"
OWN = (
    "unlocked.bench.measured.noise",
    "unlocked.bench.measured.transformer",
)  # imported by the workers, so that they know the names
SCHEDULES = ("gpipe", "1f1b", "zero_bubble")  # measured unless others are asked for
SECONDS = 3.0  # of one thread's work per contender and round: filling the chain then takes about a hundredth of it
REFERENCES = ("ideal", "locked", "backprop_1_thread", "backprop_all_threads")
NEVER = 2**60  # the step of the next checkpoint: none is taken


@dataclass(frozen=True)
class Result:
    """Of one contender, over the rounds."""

    rate: Spread  # steps per second of the slowest module, filling and draining included
    ratios: dict[str, Spread]  # to each reference, paired
    computing: list[float]  # seconds per step of each module, without waiting and sending; medians
    sending: list[float]  # seconds per step in handing messages over; 0 for pipelines, where it is part of waiting
    waiting: list[float]  # share of the time that each module waits for messages; medians
    sg: list[float]  # seconds per step on synthetic gradients and inputs, a part of `computing`; medians
    bytes_per_step: int  # moved between workers
    peak_rss_mb: list[float]  # of each worker
    schedule: str  # in words


@dataclass(frozen=True)
class Scaling:
    case: str
    cut: list[int]  # blocks per module
    steps: int  # per contender and round
    results: dict[str, Result]
    left_out: dict[str, str]  # scheme -> why it cannot train this model
    foreign: list[float | None]


def cases() -> list[str]:
    return sorted(path.stem for path in CASES.glob("*.yaml"))


def load_case(name: str, overrides: Sequence[str] = (), where: str = "bench scaling") -> Config:
    if name not in cases():
        raise ConfigError(f"{where}: {unknown('case', name, cases())}")
    return load_config(CASES / f"{name}.yaml", overrides)


def measure(
    config: Config,
    rounds: int = 5,
    steps: int | None = None,
    schemes: Sequence[str] = DECOUPLED,
    schedules: Sequence[str] = SCHEDULES,
    variants: Mapping[str, Config] | None = None,
    imports: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Scaling:
    """Rounds in which every contender trains `steps` steps, in an order that changes.

    `steps`: as many as take about `SECONDS` in one thread, at least 40, when None. Raises `ConfigError` before
    anything starts.
    """
    taking_part = contenders(config, schemes, schedules, variants or {})
    workers = sum(plan.workers for plan in taking_part.plans.values())
    start_ray(workers, config.parallel.address)
    note(f"starting {workers} workers")
    running: dict[str, Contender] = {}
    try:
        for name, plan in taking_part.plans.items():
            group = RayGroup(plan, taking_part.data, [*OWN, *imports])
            running[name] = _KINDS.get(name, _Training)(group, plan)
            running[name].run(plan.lag + 3)  # first steps allocate and choose kernels
        return _measure(config.name, running, taking_part.left_out, rounds, steps, note)
    finally:
        for contender in running.values():
            contender.group.close()


def _measure(
    case: str,
    running: dict[str, Contender],
    left_out: dict[str, str],
    rounds: int,
    steps: int | None,
    note: Callable[[str], None],
) -> Scaling:
    if steps is None:
        one = running["backprop_1_thread"].run(5)
        steps = max(40, round(SECONDS * 5 / one[0].seconds))
    note(f"{rounds} rounds, {steps} steps of each")
    order, shuffle, count = list(running), random.Random(0).shuffle, steps

    def one_round() -> dict[str, list[SegmentStats]]:
        shuffle(order)
        return {name: running[name].run(count) for name in order}

    done = in_rounds(rounds, one_round, note)
    reports = {name: [reports[name] for reports in done.results] for name in running}
    rates = {name: [steps / max(s.seconds for s in run) for run in runs] for name, runs in reports.items()}
    results = {}
    for name, runs in reports.items():
        plan = running[name].plan
        modules = range(plan.modules)
        results[name] = Result(
            rate=Spread.of(rates[name]),
            ratios={other: paired(rates[name], rates[other]) for other in REFERENCES if other != name},
            computing=[median(run[k].computed for run in runs) / steps for k in modules],
            sending=[median(run[k].sent for run in runs) / steps for k in modules],
            waiting=[median(run[k].waited / run[k].seconds for run in runs) for k in modules],
            sg=[median(run[k].sg for run in runs) / steps for k in modules],
            bytes_per_step=0 if name == "ideal" else bytes_per_step(plan),
            peak_rss_mb=running[name].group.ask(memory),
            schedule=plan.schedule,
        )
    cut = [spec.stop - spec.start for spec in running["locked"].plan.specs]
    return Scaling(case, cut, steps, results, left_out, done.foreign)


def bytes_per_step(plan: Plan) -> int:
    """What a minibatch moves over all links: outputs up; gradients down, or the error to every module."""
    width, batch = DTYPES[plan.config.train.precision].itemsize, plan.config.data.batch_size
    numbers = 0
    for spec in plan.specs[:-1]:
        size = 1
        for length in spec.out_shape:
            size *= length
        numbers += size
        numbers += {None: 0, "above": size, "last": math.prod(plan.specs[-1].out_shape)}[plan.scheme.feedback_from]
    return numbers * width * batch


# the contenders -------------------------------------------------------------------------------------------


class Contender(Protocol):
    group: RayGroup
    plan: Plan

    def run(self, steps: int) -> list[SegmentStats]: ...


class _Training:
    """Goes on with its training at every turn."""

    def __init__(self, group: RayGroup, plan: Plan):
        self.group, self.plan, self._t = group, plan, 0

    def run(self, steps: int) -> list[SegmentStats]:
        start, self._t = self._t, self._t + steps
        (stats,) = self.group.run([(start, self._t)], NEVER)
        return stats


class _Alone:
    """Every module for itself."""

    def __init__(self, group: RayGroup, plan: Plan):
        self.group, self.plan = group, plan

    def run(self, steps: int) -> list[SegmentStats]:
        return self.group.ask(run_alone, steps)


_KINDS: dict[str, Callable[[RayGroup, Plan], Contender]] = {"ideal": _Alone, NAME: DeepSpeedPipeline}
