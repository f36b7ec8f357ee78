"""What more workers gain a population: the same search over one worker and over several, in turn within each round.

Both are asked for the same candidates and tell their strategy the same trials, so they do equal work: the same
generations of CMA-ES on Pendulum, whose episodes are all of one length. Workers have one thread each, and are up
before the first round.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from unlocked.bench.measured.measure import Spread, in_rounds, paired
from unlocked.config import from_tree
from unlocked.errors import RunFailed
from unlocked.launch.cluster import start_ray
from unlocked.launch.population import PopulationGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes import Evolution

NEVER = 2**60  # the step of the next checkpoint: none is taken


@dataclass(frozen=True)
class Result:
    workers: int
    population: int
    rates: dict[int, Spread]  # candidates per minute, by workers
    gain: Spread  # of all workers over one, paired
    foreign: list[float | None]


def case(workers: int, population: int) -> dict[str, object]:
    return {
        "data": {
            "name": "control",
            "batch_size": 4,
            "validation": 0.0,
            "options": {"environment": "Pendulum-v1", "starts": 64, "validations": 1, "tests": 1},
        },
        "model": {"name": "mlp", "hidden": [8], "activation": "tanh"},
        "scheme": {"name": "evolution", "strategy": {"name": "cma_es", "population": population}},
        "train": {"steps": 100_000},
        "parallel": {"engine": "population", "evaluators": workers, "device": "cpu", "threads": 1},
    }


def measure(workers: int, population: int, rounds: int, generations: int, note: Callable[[str], None]) -> Result:
    """Raises `RunFailed` if the searches did not come to equal losses."""
    start_ray(workers + 1, None)
    groups: dict[int, PopulationGroup] = {}
    try:
        for n in (1, workers):
            config = from_tree(case(n, population))
            data = load_data(config)
            note(f"starting {n} worker{'s' * (n > 1)}")
            groups[n] = PopulationGroup(make_plan(config, data), data)
        at, order = 0, random.Random(0)

        def run(n: int, start: int, stop: int) -> float:
            began = time.perf_counter()
            for _ in groups[n].run([(start, stop)], NEVER):
                pass
            return time.perf_counter() - began

        def one_round() -> dict[int, float]:
            nonlocal at
            turns = list(groups)
            order.shuffle(turns)
            spent = {n: run(n, at, at + generations) for n in turns}
            at += generations
            return {n: 60 * generations * population / seconds for n, seconds in spent.items()}

        one_round()  # each worker's first pass
        found = in_rounds(rounds, one_round, note)
        losses = []
        for group in groups.values():
            learner = group.modules[0].learner
            assert isinstance(learner, Evolution)
            losses.append(learner.trials)
    finally:
        for group in groups.values():
            group.close()
    if losses[0] != losses[1]:
        raise RunFailed("bench population: one worker and several came to different losses")
    rates = {n: [each[n] for each in found.results] for n in groups}
    return Result(
        workers,
        population,
        {n: Spread.of(each) for n, each in rates.items()},
        paired(rates[workers], rates[1]),
        found.foreign,
    )
