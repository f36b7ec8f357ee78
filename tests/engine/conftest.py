"""Small runs of the whole loop in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unlocked.config import Config, load_config
from unlocked.engine.loop import Silent

SMALL = [
    "model.hidden=[24,16]",
    "parallel.partition=null",
    "parallel.stages=2",
    "parallel.launcher=inprocess",
    "parallel.threads=1",
    "tracking.uri=off",
    "tracking.figures=false",
    "train.probe_every=0",
    "train.epochs=3",
]


class Notes(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def reporter() -> Notes:
    return Notes()


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        return load_config("quickstart", [*SMALL, f"tracking.runs={tmp_path / 'runs'}", *overrides])

    return make
