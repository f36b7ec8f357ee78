"""Trials per minute of `unlocked sweep`: one at a time, several at once, and the same function under Ray Tune.

Every contender trains the same trials, a random search over two rates of a small network on digits, one thread each,
tracking off; the time is that of the whole call, with the start of every process that it needs. `steady` is the pace
of several at once over that of one, from the first ends of trials to the last. The driver's own time per trial is
measured apart, on trials that do nothing. Ray Tune runs the same function over the same space with its OptunaSearch; it
needs `ray[tune]`, and is left out if that is missing.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlocked.bench.measured.measure import Spread, paired
from unlocked.config import Config, load_config
from unlocked.launch.cluster import start_ray
from unlocked.loop.train import train
from unlocked.runs.result import Run
from unlocked.studies import sweep
from unlocked.studies import trial as trial_module
from unlocked.studies.driver import Progress, Unwatched

BASE = [
    "data.validation=0.2",
    "train.epochs=100",
    "train.probe_every=0",
    "train.checkpoint_every=100",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "tracking.uri=off",
    "scheme.name=backprop",
    "parallel.modules=1",
]
LOW, HIGH = 1e-4, 1e-1
SPACE = [
    f"sweep.space.{key}={{low: {LOW}, high: {HIGH}, log: true}}" for key in ("optimizer.lr", "optimizer.weight_decay")
]
TUNE, ONE = "ray_tune", "concurrent_1"


@dataclass(frozen=True)
class Throughput:
    trials: int  # of each contender and round
    rates: dict[str, Spread]  # trials per minute, with all that a command does before and after them
    ratios: dict[str, Spread]  # of several at once over one, and over Ray Tune; paired
    steady: Spread  # of several at once over one, without what comes before and after the trials; paired
    left_out: dict[str, str]
    overhead: dict[str, float]  # sampler -> seconds of the driver per trial
    overhead_trials: int


def measure(
    rounds: int = 3,
    trials: int = 24,
    concurrent: int = 2,
    overhead_trials: int = 200,
    note: Callable[[str], None] = lambda text: None,
) -> Throughput:
    """Rounds in which every contender runs `trials` trials, in an order that changes. Ray is started beforehand."""
    start_ray(concurrent, None)
    many = f"concurrent_{concurrent}"
    contenders: dict[str, Callable[[Path, int], float | None]] = {
        ONE: lambda folder, seed: _ours(folder, seed, trials, 1),
        many: lambda folder, seed: _ours(folder, seed, trials, concurrent),
    }
    left_out: dict[str, str] = {}
    try:
        tune = _tune(concurrent)
    except ImportError as error:
        left_out[TUNE] = f"it needs ray[tune] and optuna: {error}"
    else:
        contenders[TUNE] = lambda folder, seed: tune(folder, seed, trials)
    order, shuffle = list(contenders), random.Random(0).shuffle

    note(f"{rounds} rounds, {trials} trials of each")
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    paces: dict[str, list[float]] = {ONE: [], many: []}
    for seed in range(rounds):
        shuffle(order)
        for name in order:
            with _folder() as folder:
                begin = time.perf_counter()
                pace = contenders[name](folder, seed)
                rates[name].append(60 * trials / (time.perf_counter() - begin))
            if pace is not None:
                paces[name].append(pace)
        note(
            f"round {seed + 1}: trials per minute "
            + ", ".join(f"{name.replace('_', ' ')} {rates[name][-1]:.1f}" for name in contenders)
        )
    ratios = {other: paired(rates[many], rates[other]) for other in contenders if other != many}
    overhead = {sampler: _overhead(sampler, overhead_trials) for sampler in ("random", "tpe")}
    return Throughput(
        trials,
        {name: Spread.of(rate) for name, rate in rates.items()},
        ratios,
        paired(paces[many], paces[ONE]),
        left_out,
        overhead,
        overhead_trials,
    )


def _config(folder: Path, seed: int, trials: int, *more: str) -> Config:
    return load_config(
        "quickstart",
        [
            *BASE,
            *SPACE,
            f"tracking.runs={folder}",
            f"seed={seed}",
            "name=bench",
            "sweep.metric=val/accuracy",
            "sweep.sampler=random",
            f"sweep.trials={trials}",
            *more,
        ],
    )


def _ours(folder: Path, seed: int, trials: int, concurrent: int) -> float:
    """Trials per second, from the first end of as many trials as run at once."""
    clock = _TrialsOnly(concurrent)
    summary = sweep(_config(folder, seed, trials, f"sweep.concurrent={concurrent}"), watcher=clock)
    assert summary["complete"] == trials, summary["failed"]
    return (trials - concurrent) / clock.seconds


def _tune(concurrent: int) -> Callable[[Path, int, int], None]:
    """The same under Ray Tune; raises `ImportError` if it is not installed."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def run(folder: Path, seed: int, trials: int) -> None:
        def trainable(point: dict[str, float]) -> dict[str, Any]:
            import torch

            from unlocked.bench.measured.sweeps import train_point

            torch.set_num_threads(1)
            return {"accuracy": train_point(point, folder, seed)}

        space = {key: tune.loguniform(LOW, HIGH) for key in ("lr", "weight_decay")}
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                num_samples=trials,
                max_concurrent_trials=concurrent,
                metric="accuracy",
                mode="max",
                search_alg=OptunaSearch(seed=seed),
            ),
            run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
        )
        results = tuner.fit()
        assert not results.errors, results.errors[0]

    return run


def train_point(point: dict[str, float], folder: Path, seed: int) -> float:
    """One trial of the space, as `unlocked sweep` trains it; its validation accuracy."""
    config = load_config(
        "quickstart",
        [
            *BASE,
            f"tracking.runs={folder}",
            f"seed={seed}",
            "name=bench",
            *(f"optimizer.{key}={value!r}" for key, value in point.items()),
        ],
    )
    out: float = train(config)["metrics"]["val/accuracy"]
    return out


def _overhead(sampler: str, trials: int) -> float:
    """Seconds of the driver per trial, of trials that do nothing but report."""
    real = train

    def nothing(config: Config, **_: Any) -> Run:
        return Run(
            scheme=config.scheme.name,
            seed=config.seed,
            metrics={"val/accuracy": config.optimizer.lr, "time/steps_per_second": 1.0},
        )

    trial_module.train = nothing  # type: ignore[attr-defined]
    try:
        with _folder() as folder:
            clock = _TrialsOnly()
            sweep(_config(folder, 0, trials, f"sweep.sampler={sampler}"), watcher=clock)
            return clock.seconds / (trials - 1)
    finally:
        trial_module.train = real  # type: ignore[attr-defined]


class _TrialsOnly(Unwatched):
    """From the end of trial `first` to the end of the last: without what a command does before and after."""

    seconds = 0.0

    def __init__(self, first: int = 1) -> None:
        self._first = first
        self._began = 0.0

    def finished(self, progress: Progress) -> None:
        now = time.perf_counter()
        if progress.done <= self._first:
            self._began = now
        self.seconds = now - self._began


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unlocked-bench-") as folder:
        yield Path(folder)
