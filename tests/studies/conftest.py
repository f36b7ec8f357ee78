"""Small studies: digits for two epochs in this process, and a `train` that only pretends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from unlocked import Config, load_config
from unlocked.studies import trial

SMALL = ["name=small", "tracking.uri=off", "tracking.figures=false", "train.epochs=2", "train.probe_every=0",
         "parallel.launcher=inprocess", "parallel.threads=1", "sweep.metric=test/accuracy"]


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
    context.set_forkserver_preload(["unlocked.cli.main", "unlocked.engine.loop", "unlocked.studies.driver",
                                    "unlocked.studies.plots", "unlocked_models", "sklearn.datasets"])
    return context


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that a study trains, in their order; nothing is computed."""
    seen: list[Config] = []

    def pretend(config: Config, **_: Any) -> dict[str, Any]:
        seen.append(config)
        accuracy = {"cdni": 0.9, "dfa": 0.8, "frozen": 0.95}.get(config.scheme.name, 0.5) + config.seed / 100
        return {"scheme": config.scheme.name, "seed": config.seed, "metrics": {"test/accuracy": accuracy},
                "parameters": 1234, "steps_per_second": 50.0}

    monkeypatch.setattr(trial, "train", pretend)
    return seen
