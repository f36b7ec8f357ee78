"""Small studies and searches: digits for two epochs in this process, or a `train` that only pretends."""

from __future__ import annotations

import csv
import math
import multiprocessing
from collections.abc import Callable
from itertools import count
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from unlocked import Config, load_config
from unlocked.drawing.optuna import draw_search
from unlocked.errors import RunPruned
from unlocked.studies import report, trial
from unlocked.studies.driver import Unwatched

SMALL = [
    "name=small",
    "tracking.uri=off",
    "tracking.figures=false",
    "train.epochs=2",
    "train.probe_every=0",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "sweep.metric=test/accuracy",
]


@pytest.fixture
def small() -> list[str]:
    """The overrides of `study`, for a command."""
    return SMALL


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """`study("sweep.space.seed=[0,1]")`: a configuration whose runs go to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: load_config("quickstart", [*SMALL, *overrides])


@pytest.fixture(scope="session")
def prepared() -> BaseContext:
    """Processes that begin with everything imported, which takes seconds otherwise; made to be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "unlocked.cli.main",
            "unlocked.loop.train",
            "unlocked.studies.driver",
            "unlocked.drawing.optuna",
            "unlocked_models",
            "sklearn.datasets",
        ]
    )
    return context


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that a study trains, in their order; nothing is computed."""
    seen: list[Config] = []

    def pretend(config: Config, **_: Any) -> dict[str, Any]:
        seen.append(config)
        accuracy = {"cdni": 0.9, "dfa": 0.8, "frozen": 0.95}.get(config.scheme.name, 0.5) + config.seed / 100
        return {
            "scheme": config.scheme.name,
            "seed": config.seed,
            "metrics": {"test/accuracy": accuracy},
            "parameters": 1234,
            "steps_per_second": 50.0,
        }

    monkeypatch.setattr(trial, "train", pretend)
    return seen


@pytest.fixture
def search(study: Callable[..., Config]) -> Callable[..., Config]:
    """As `study`, of a search for the best rate on the validation split."""
    rates = "sweep.space.optimizer.lr={low: 1e-4, high: 1.0, log: true}"
    return lambda *overrides: study(
        "data.validation=0.2", "sweep.metric=val/accuracy", "sweep.sampler=random", rates, *overrides
    )


@pytest.fixture
def width() -> str:
    """A dimension more, of named choices."""
    return (
        "sweep.space.width={choice: {narrow: {model.hidden: [16, 16, 16, 16]}, wide: {model.hidden: [32, 32, 32, 32]}}}"
    )


@pytest.fixture
def hill(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Runs that only pretend: the best rate is 0.01, and every epoch comes a tenth closer to what it gives."""
    seen: list[Config] = []
    numbers = count()

    def pretend(config: Config, reporter: Any = None, study: Any = None, **_: Any) -> dict[str, Any]:
        seen.append(config)
        run = Path(config.tracking.runs) / f"run-{next(numbers)}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"lr: {config.optimizer.lr}\n")
        top = 1 - abs(math.log10(config.optimizer.lr) + 2) / 4
        reporter.started(None, run, 0)
        for epoch in range(1, config.train.epochs + 1):
            ends = reporter.epoch(epoch, {"val/accuracy": top * epoch / config.train.epochs})
            if ends and epoch < config.train.epochs:
                raise RunPruned("not worth it", epoch)
        metrics = {"val/accuracy": top, "time/steps_per_second": 1 / config.optimizer.lr}
        return {"scheme": config.scheme.name, "seed": config.seed, "metrics": metrics}

    monkeypatch.setattr(trial, "train", pretend)
    monkeypatch.setattr(report, "draw_search", lambda *_: [])  # takes seconds; `drawn` draws
    return seen


@pytest.fixture
def drawn(hill: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_search", draw_search)


class Heard(Unwatched):
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ended: list[int] = []
        self.best: list[str | None] = []

    def finished(self, progress: Any) -> None:
        self.best.append(progress.best)

    def retried(self, number: int, text: str) -> None:
        self.ended.append(number)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def trials_of() -> Callable[[dict[str, Any]], list[dict[str, str]]]:
    """The rows of the table of trials that a summary names."""
    return lambda summary: list(csv.DictReader(Path(summary["trials_table"]).open()))
