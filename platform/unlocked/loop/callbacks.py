"""The callbacks of a run, called in their order; what they log, and how one of them ends the run.

One that fails ends the run in one line that names it. Whoever calls them asks `failed` after it has saved.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlocked.blame import defined, knowing_of_ctrl_c, place, said
from unlocked.callbacks import Callback, make_callbacks
from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.engine.segments import SegmentStats, series_means
from unlocked.errors import RunFailed, UnlockedError, in_one_line
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan
from unlocked_models.contract.chain import Chain

_LOGGED = "logged"  # the key, among the states, of the names that they have logged
_NAME = re.compile(r"[A-Za-z0-9_\-. :/]{1,200}")  # as MLflow takes them
_OURS = ("train/", "val/", "test/", "best/", "time/", "system/")  # of the names of metrics


class Training:
    """A run as its callbacks see it.

    `step`: steps done; `total_steps`; `epoch`: whole epochs done; `metrics`: the latest value of each; `config`, `data`
    and `folder`, where a callback may write files.
    """

    def __init__(self, plan: Plan, data: DataSet, folder: Path, note: Callable[[str], None]):
        self.config: Config = plan.config
        self.data, self.folder, self.total_steps = data, folder, plan.total_steps
        self.step = 0
        self.metrics: Mapping[str, float] = {}
        self.stopped: str | None = None  # why
        self.logged: dict[int, dict[str, float]] = {}  # by step, until the run takes it
        self._plan, self._note = plan, note
        self._weights: Callable[[], dict[str, Tensor]] | None = None  # None: they cannot be asked for now
        self.own: set[str] = set()  # names that the callbacks have logged

    @property
    def epoch(self) -> int:
        return self.step // self._plan.steps_per_epoch

    def log(self, values: Mapping[str, float]) -> None:
        """Metrics of this step: points of the run's curves, by names that are none of its own (`norm/module_0`)."""
        for name, value in values.items():
            if not isinstance(name, str) or not name.strip():
                raise TypeError(f"log: the name of a metric is a text, got {name!r}")
            if not _NAME.fullmatch(name):
                raise ValueError(f"log: {name!r} is no name of a metric; use letters, digits and _ - . : / or a space")
            if name.startswith(_OURS) or (name in self.metrics and name not in self.own):
                raise ValueError(f"log: {name} is a metric of the run itself; give yours another name")
            if isinstance(value, Tensor) and value.numel() == 1:
                value = value.item()
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"log: {name} is {type(value).__name__}, not a number; write float(...) around it")
            self.own.add(name)
            self.logged.setdefault(self.step, {})[name] = float(value)

    def stop(self, reason: str) -> None:
        """Ends the run here: it is evaluated, saved and tested, and says why. The first reason counts."""
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(f"stop: give the reason as a text, got {reason!r}")
        self.stopped = self.stopped or in_one_line(reason)

    def note(self, text: str) -> None:
        """A line for the person who watches, and for the run's page."""
        self._note(in_one_line(str(text)))

    def weights(self) -> dict[str, Tensor]:
        """Of the whole net as it now is, on the CPU, by the names of a checkpoint; not in `on_step_end`."""
        if self._weights is None:
            raise RuntimeError("weights: they are on the workers in the middle of a segment; ask in on_epoch_end")
        return {name: value.detach().cpu().clone() for name, value in self._weights().items()}

    def network(self) -> Chain:
        """The net as it now is, a plain `nn.Sequential` in evaluation mode: a copy, with which anything may be done."""
        if self._plan.nets:
            raise RuntimeError(f"network: the run has several nets ({', '.join(self._plan.nets)}); see weights()")
        weights = self.weights()
        chain = Chain(build_blocks(self.config, self.data.example))
        chain.to(next((x.dtype for x in weights.values() if x.is_floating_point()), torch.float32))
        chain.load_state_dict(weights)
        return chain.eval()


class Callbacks:
    """Those of one run. Made again for each group of workers, so that they go on from what a checkpoint knows."""

    def __init__(self, training: Training, states: Mapping[str, Any]):
        self.failed: RunFailed | None = None  # the line of the first that failed
        self._run = training
        self._run.own = set(states.get(_LOGGED, ()))
        self._called: list[tuple[str, Callback]] = []  # with their place in messages, by which states are kept too
        for i, (name, callback) in enumerate(make_callbacks(training.config.callbacks)):
            self._called.append((f"callbacks[{i}]: {name}", callback))
        for key, callback in self._called:
            if key in states:
                self._call(key, callback, "load_state_dict", states[key])

    @property
    def stopped(self) -> str | None:
        """Why one of them ended the run."""
        return self._run.stopped

    def now(self, step: int, metrics: Mapping[str, float]) -> None:
        """Where the run stands."""
        self._run.step, self._run.metrics = step, metrics

    @property
    def watch_steps(self) -> bool:
        return any(type(each).on_step_end is not Callback.on_step_end for _, each in self._called)

    def tell(self, event: str, *what: Any, weights: Callable[[], dict[str, Tensor]] | None = None) -> None:
        """Calls them all, up to one that fails. `weights`: gives those of the net, if they can be had now."""
        self._run._weights = weights
        for key, callback in self._called:
            if self.failed is None and getattr(type(callback), event) is not getattr(Callback, event):
                self._call(key, callback, event, self._run, *what)
        self._run._weights = None

    def tell_steps(self, stats: Sequence[SegmentStats]) -> None:
        """The steps of a segment, one after the other."""
        stop = self._run.step
        for i in range(stats[-1].stop - stats[-1].start):
            self._run.step = stats[-1].start + i + 1
            self.tell("on_step_end", self._run.step, _values(stats, i))
            if self.failed is not None:
                break
        self._run.step = stop

    def states(self) -> dict[str, Any]:
        """Of those that have one, in a form that a file gives back without running code."""
        found: dict[str, Any] = {_LOGGED: sorted(self._run.own)} if self._run.own else {}

        def take(key: str, callback: Callback) -> None:
            file = io.BytesIO()
            torch.save(callback.state_dict(), file)
            file.seek(0)
            try:
                found[key] = torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # unpickling errors of any kind
                raise TypeError(
                    "it gives more than tensors, numbers, texts, lists and dicts, which a file gives back without "
                    "running code"
                ) from None

        for key, callback in self._called:
            if type(callback).state_dict is not Callback.state_dict:
                self._guarded(key, "state_dict", callback, partial(take, key, callback))
        return found

    def take_logged(self) -> dict[int, dict[str, float]]:
        """What they logged since they were last asked, by step."""
        logged, self._run.logged = self._run.logged, {}
        return logged

    def _call(self, key: str, callback: Callback, event: str, *what: Any) -> None:
        self._guarded(key, event, callback, lambda: getattr(callback, event)(*what))

    def _guarded(self, key: str, event: str, owner: Any, call: Callable[[], object]) -> None:
        """Keeps what it raises as `failed`, a line that says where; the run saves itself first."""
        try:
            with knowing_of_ctrl_c() as is_ctrl_c:
                call()
        except UnlockedError:
            raise
        except BaseException as error:  # a user's code raises whatever it likes
            if is_ctrl_c(error):
                raise
            at = place(error) or defined(getattr(type(owner), event, None))
            self.failed = self.failed or RunFailed(f"{key}: {event} failed{f' at {at}' if at else ''}: {said(error)}")
            self.failed.__cause__ = error


def _values(stats: Sequence[SegmentStats], i: int) -> dict[str, float]:
    """What was recorded in step i of a segment, by the names of metrics; what is not of every step is left out."""
    found = series_means(
        [replace(s, series={n: v[i : i + 1] for n, v in s.series.items() if len(v) == s.stop - s.start}) for s in stats]
    )
    return {name: value for name, value in found.items() if not math.isnan(value)}
