"""What it costs to share out a net over two workers, and what memory it saves.

    ddp          torch's DistributedDataParallel
    replicas     as `parallel.replicas` is without ZeRO: gradients averaged in one message
    zero 0 to 3  stages of ZeRO, by DeepSpeed

All train the same net on the same examples by the same loop, in the same two processes of one thread, on gloo and in
turn within each round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from unlocked.bench.measured.measure import Spread, in_rounds, paired
from unlocked.bench.measured.scaling import OWN
from unlocked.bench.measured.sharers import STAGE, Held, Pair
from unlocked.config import Config, with_values
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

WHERE = "bench deepspeed"
WORKERS = 2
SECONDS = 2.0  # of each contender and round
REFERENCES = ("ddp", "replicas")
STAGES = {f"zero {stage}": stage for stage in range(4)}
PLACE = {
    "parallel.modules": 1,
    "parallel.partition": None,
    "parallel.replicas": WORKERS,
    "parallel.device": "cpu",
    "parallel.threads": 1,
    "scheme.name": "backprop",
    "scheme.lag": 0,
    "scheme.synthetic_inputs": False,
}


@dataclass(frozen=True)
class Result:
    """Of one contender, over the rounds."""

    rate: Spread  # steps per second of the slower worker
    ratios: dict[str, Spread]  # to each reference, paired
    held: Held  # by the worker that holds most


@dataclass(frozen=True)
class Sharing:
    case: str
    steps: int  # per contender and round
    results: dict[str, Result]
    left_out: dict[str, str]  # contender -> why it cannot train this net
    foreign: list[float | None]


class Workers(Protocol):
    """Two processes that hold all contenders; tests have others."""

    def run(self, name: str, steps: int) -> list[float]:
        """Seconds, of each worker."""

    def held(self, name: str) -> list[Held]:
        """By each worker."""

    def close(self) -> None: ...


def contenders(config: Config) -> tuple[dict[str, Config], dict[str, str]]:
    """Configurations by name, and why others are left out. `ConfigError` for what cannot be measured at all."""
    config = with_values(config, PLACE, WHERE)
    data = load_data(config)
    without = replace(config, parallel=replace(config.parallel, deepspeed={}))  # type: ignore[call-arg]
    ours = with_values(without, {"parallel.engine": "ray"}, WHERE)
    make_plan(ours, data)
    found, left_out = dict.fromkeys(REFERENCES, ours), dict[str, str]()
    for name, stage in STAGES.items():
        try:
            sharing = with_values(config, {"parallel.engine": "deepspeed", STAGE: stage}, WHERE)
            make_plan(sharing, data)
            found[name] = sharing
        except ConfigError as error:
            left_out[name] = str(error)
    if len(left_out) == len(STAGES):
        raise ConfigError(next(iter(left_out.values())))
    return found, left_out


def measure(
    config: Config,
    rounds: int = 5,
    steps: int | None = None,
    imports: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
    start: Callable[[dict[str, Config], Sequence[str]], Workers] = Pair,
) -> Sharing:
    """Rounds in which every contender trains `steps` steps, in an order that changes.

    `steps`: as many as DDP takes about `SECONDS` for, at least 10, when None. Raises `ConfigError` before anything
    starts.
    """
    configs, left_out = contenders(config)
    note(f"starting {WORKERS} workers")
    workers = start(configs, [*OWN, *imports])
    try:
        for name in configs:
            workers.run(name, 3)  # first steps allocate
        if steps is None:
            steps = max(10, round(SECONDS * 5 / max(workers.run("ddp", 5))))
        note(f"{rounds} rounds, {steps} steps of each")
        order, shuffle, count = list(configs), random.Random(0).shuffle, steps

        def one_round() -> dict[str, float]:
            shuffle(order)
            return {name: max(workers.run(name, count)) for name in order}

        done = in_rounds(rounds, one_round, note)
        rates = {name: [count / seconds[name] for seconds in done.results] for name in configs}
        results = {
            name: Result(
                Spread.of(rates[name]),
                {other: paired(rates[name], rates[other]) for other in REFERENCES if other != name},
                max(workers.held(name), key=lambda held: held.total),
            )
            for name in configs
        }
        return Sharing(config.name, steps, results, left_out, done.foreign)
    finally:
        workers.close()
