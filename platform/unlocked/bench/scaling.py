"""What a cut into K modules gains: every scheme on its own Ray workers, in turn within each round.

    backprop_1_thread     the whole chain in one worker with one thread
    backprop_all_threads  the same with a thread per core: what decoupling competes with on one machine
    ideal                 the K modules forward, backward and update at once, with no messages and no
                          synthetic gradients: the ceiling of this cut
    locked                backprop over the K modules, each waiting for all others
    dni, cdni, dfa        over the K modules, at their own lag

Every one has the same network, cut, batch size and optimiser, one thread per worker (but for the second) and
the same number of steps per round. Idle workers take no CPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from unlocked.bench import noise as _noise  # noqa: F401  (registers the data)
from unlocked.bench.measure import Spread, cores, in_rounds, paired
from unlocked.bench.solo import memory, run_alone
from unlocked.config import Config, load_config
from unlocked.config.check import check_values
from unlocked.data import DataSet
from unlocked.engine.plan import Plan, load_data, make_plan
from unlocked.engine.ray_group import RayGroup, start_ray
from unlocked.engine.stage import SegmentStats
from unlocked.errors import ConfigError
from unlocked.schemes import DTYPES, SCHEMES
from unlocked_models.registry import unknown

CASES = Path(__file__).parent / "cases"
NOISE = "unlocked.bench.noise"  # imported by the workers, so that they know the data set
DECOUPLED = ("dni", "cdni", "dfa")
REFERENCES = ("ideal", "locked", "backprop_1_thread", "backprop_all_threads")
NEVER = 2**60  # the step of the next checkpoint: none is taken


@dataclass(frozen=True)
class Result:
    """Of one contender, over the rounds."""

    rate: Spread  # steps per second of the slowest module, filling and draining included
    ratios: dict[str, Spread]  # to each reference, paired
    busy: list[float]  # seconds per step of each module, waiting taken out; medians
    waiting: list[float]  # share of the time that each module waits for messages; medians
    bytes_per_step: int  # moved between workers
    peak_rss_mb: list[float]  # of each worker
    lag: int


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


def load_case(name: str, overrides: Sequence[str] = ()) -> Config:
    if name not in cases():
        raise ConfigError(f"bench scaling: {unknown('case', name, cases())}")
    return load_config(CASES / f"{name}.yaml", overrides)


def measure(config: Config, rounds: int = 5, steps: int | None = None, schemes: Sequence[str] = DECOUPLED,
            imports: Sequence[str] = (), note: Callable[[str], None] = lambda text: None) -> Scaling:
    """Rounds in which every contender trains `steps` steps, in an order that changes.

    `steps`: as many as take about 1.5 s in one thread, at least 20, when None. The cut is the one of the
    configuration, else the one that balances cdni (the first of `schemes` that fits), whose synthetic
    gradients count. Raises `ConfigError` before anything starts.
    """
    data, plans, left_out = _plans(config, schemes)
    start_ray(sum(plan.workers for plan in plans.values()), config.parallel.address)
    note(f"starting {sum(plan.workers for plan in plans.values())} workers")
    contenders: dict[str, Contender] = {}
    try:
        for name, plan in plans.items():
            group = RayGroup(plan, data, [NOISE, *imports])
            contenders[name] = _Alone(group, plan) if name == "ideal" else _Training(group, plan)
            contenders[name].run(plan.lag + 3)  # first steps allocate and choose kernels
        return _measure(config.name, contenders, left_out, rounds, steps, note)
    finally:
        for contender in contenders.values():
            contender.group.close()


def _measure(case: str, contenders: dict[str, Contender], left_out: dict[str, str], rounds: int,
             steps: int | None, note: Callable[[str], None]) -> Scaling:
    if steps is None:
        one = contenders["backprop_1_thread"].run(5)
        steps = max(20, round(1.5 * 5 / one[0].seconds))
    note(f"{rounds} rounds, {steps} steps of each")
    order, shuffle, count = list(contenders), random.Random(0).shuffle, steps

    def one_round() -> dict[str, list[SegmentStats]]:
        shuffle(order)
        return {name: contenders[name].run(count) for name in order}

    done = in_rounds(rounds, one_round, note)
    reports = {name: [reports[name] for reports in done.results] for name in contenders}
    rates = {name: [steps / max(s.seconds for s in run) for run in runs] for name, runs in reports.items()}
    results = {}
    for name, runs in reports.items():
        plan = contenders[name].plan
        modules = range(plan.stages)
        results[name] = Result(
            rate=Spread.of(rates[name]),
            ratios={other: paired(rates[name], rates[other]) for other in REFERENCES if other != name},
            busy=[median((run[k].seconds - run[k].waited) / steps for run in runs) for k in modules],
            waiting=[median(run[k].waited / run[k].seconds for run in runs) for k in modules],
            bytes_per_step=0 if name == "ideal" else bytes_per_step(plan),
            peak_rss_mb=contenders[name].group.ask(memory),
            lag=plan.lag)
    cut = [part.stop - part.start for part in contenders["locked"].plan.parts]
    return Scaling(case, cut, steps, results, left_out, done.foreign)


def bytes_per_step(plan: Plan) -> int:
    """What a minibatch moves over all links: outputs up; gradients down, or the error to every module."""
    width, batch = DTYPES[plan.config.train.precision].itemsize, plan.config.data.batch_size
    numbers = 0
    for part in plan.parts[:-1]:
        size = 1
        for length in part.out_shape:
            size *= length
        numbers += size
        numbers += {None: 0, "above": size, "last": plan.n_outputs}[plan.scheme.feedback_from]
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


def _plans(config: Config, schemes: Sequence[str]) -> tuple[DataSet, dict[str, Plan], dict[str, str]]:
    if config.parallel.device == "cuda":
        raise ConfigError("bench scaling: parallel.device: cuda, but all contenders hold their workers at "
                          "once; it measures on CPUs")
    known = [name for name in SCHEMES if name != "backprop"]
    for name in schemes:
        if name not in known:
            raise ConfigError(f"bench scaling: {unknown('decoupled scheme', name, known)}")
    stages = config.parallel.stages
    if stages < 2:
        raise ConfigError(f"bench scaling: parallel.stages: {stages} leaves nothing to unlock; "
                          "expected at least 2")
    config = _with(config, parallel={"replicas": 1, "launcher": "ray", "device": "cpu", "threads": 1})
    data = load_data(config)
    left_out: dict[str, str] = {}
    decoupled: dict[str, Plan] = {}
    for name in sorted(schemes, key=lambda name: name != "cdni"):  # its cut is everybody's
        try:
            decoupled[name] = make_plan(_with(config, scheme={"name": name, "lag": "auto"}), data)
        except ConfigError as error:
            left_out[name] = str(error)
            continue
        cut = [part.stop - part.start for part in decoupled[name].parts]
        config = _with(config, parallel={"partition": cut})
    locked = _with(config, scheme={"name": "backprop", "lag": 0})
    one = _with(locked, parallel={"stages": 1, "partition": None})
    plans = {"backprop_1_thread": make_plan(one, data),
             "backprop_all_threads": make_plan(_with(one, parallel={"threads": cores()}), data),
             "ideal": make_plan(locked, data), "locked": make_plan(locked, data)}
    return data, {**plans, **{name: decoupled[name] for name in schemes if name in decoupled}}, left_out


def _with(config: Config, **groups: dict[str, Any]) -> Config:
    changed = {key: replace(getattr(config, key), **values) for key, values in groups.items()}
    config = replace(config, **changed)
    check_values(config)
    return config
