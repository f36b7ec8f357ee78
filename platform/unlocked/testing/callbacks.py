"""What every callback keeps: it changes no number of a run, and a run that goes on is as one that was never broken."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from unlocked.callbacks import CALLBACKS
from unlocked.config import Config, from_tree
from unlocked.errors import RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Silent
from unlocked.loop.train import resume, train
from unlocked.testing.runs import BASE
from unlocked.tracking.spool import History, read


class _Interrupts(Silent):
    """Asks the run to save and stop, once it has done so many steps."""

    def __init__(self, steps: int):
        self.steps, self.stop = steps, StopSignal()

    def segment(self, step: int, values: dict[str, float]) -> None:
        self.stop.asked |= step >= self.steps


class CallbackContract:
    """Inherit and name the callback:

    class TestMine(CallbackContract):
        callback = "mine"
        options = {"least": 0.1}        # with which it lets a run of a few epochs pass
    """

    callback: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    more: ClassVar[dict[str, Any]] = {}  # other keys, such as {"task": "rotation"}

    def config(self, runs: str, with_it: bool = True) -> Config:
        tree = copy.deepcopy(BASE)
        tree["data"] |= {"examples": 120, "validation": 0.2}
        tree["train"] |= {"epochs": 3, "log_every": 4}
        tree |= {
            "model": {"name": "mlp", "hidden": [12]},
            "scheme": {"name": "backprop"},
            "tracking": {"runs": runs, "uri": "off", "figures": False},
            "callbacks": [{"name": self.callback, **self.options}] if with_it else [],
        }
        return from_tree(tree | self.more)

    def test_it_changes_no_number(self) -> None:
        with TemporaryDirectory() as folder:
            plain = _curves(Path(train(self.config(folder, with_it=False))["run_dir"]))
            followed = _curves(Path(train(self.config(folder))["run_dir"]))
        steps = max(step for points in followed.values() for step, _ in points)  # it may have ended the run
        for name, points in plain.items():
            if not name.startswith("test/"):
                before = [point for point in points if point[0] < steps]
                assert [point for point in followed[name] if point[0] < steps] == before, name

    def test_a_run_that_goes_on_is_as_one_that_was_never_broken(self) -> None:
        with TemporaryDirectory() as folder:
            whole = Path(train(self.config(folder))["run_dir"])
            try:
                interrupts = _Interrupts(steps=15)
                parts = Path(train(self.config(folder), reporter=interrupts, stop=interrupts.stop)["run_dir"])
            except RunInterrupted:
                (parts,) = set(Path(folder).iterdir()) - {whole}
                resume(parts)
            one, other = _curves(whole), _curves(parts)
        assert one == other, f"{_first(one, other)}: give what it keeps by state_dict(), and take it back"

    def test_what_it_logs_is_finite(self) -> None:
        with TemporaryDirectory() as folder:
            found = _curves(Path(train(self.config(folder))["run_dir"]))
        bad = [name for name, points in found.items() if not all(math.isfinite(value) for _, value in points)]
        assert not bad, f"{', '.join(bad)} has values that are not finite"

    def test_it_says_what_it_is(self) -> None:
        assert CALLBACKS.get(self.callback).__doc__, "its docstring is shown by `unlocked list callbacks`"


def _curves(run_dir: Path) -> History:
    return {name: points for name, points in read(run_dir).items() if not name.startswith(("time/", "system/", "run/"))}


def _first(one: History, other: History) -> str:
    return next((name for name in sorted({*one, *other}) if one.get(name) != other.get(name)), "a metric")
