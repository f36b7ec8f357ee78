"""The steps of a plan on a group of workers, from the newest checkpoint on, cut into segments.

What a run's own training and the segment that pre-trains its net have in common.

Steps leave the device only at the end of a segment. All randomness is a function of (seed, purpose, step), so training
that goes on from a checkpoint repeats what unbroken training computes.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from unlocked.blame import said
from unlocked.data import DataSet
from unlocked.engine.group import Group, Segment, WorkerFailed
from unlocked.engine.segments import SegmentStats, first_nonfinite, module_times, series_means
from unlocked.engine.spans import Span
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Reporter
from unlocked.optim import lr_factor
from unlocked.plan.calendar import Calendar
from unlocked.plan.plan import Plan
from unlocked.runs.checkpoint import Checkpoints, Progress
from unlocked.runs.fit import held_in, shared_out
from unlocked.runs.folder import RunFolder, how_to_go_on
from unlocked.runs.mirror import Mirror
from unlocked.tracking import Tracker


class Stepper(ABC):
    """What it counts outlives the group: after a failure it goes on with another one."""

    remedy = "a lower optimizer.lr or optimizer.clip_norm may help"  # against numbers that are not finite
    steps_of = ""  # of which segment, after a number of steps

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        folder: RunFolder,
        tracker: Tracker,
        reporter: Reporter,
        stop: StopSignal,
        started: float,
    ):
        self.plan, self.config, self.data, self.folder = plan, plan.config, data, folder
        self.tracker, self.reporter, self.started = tracker, reporter, started
        self.task = plan.make_task()
        self.checkpoints = Checkpoints(self._place())
        self.progress = Progress(waited=[0.0] * plan.modules)
        self.metrics: dict[str, float] = {}  # the latest value of each
        self.rates: deque[float] = deque(maxlen=1000)  # steps per second, of the latest segments
        self.begin_with: dict[str, Tensor] | None = None  # weights; None: those that the workers draw from the seed
        self.to_first_step: float | None = None  # seconds
        self.spans: dict[int, list[Span]] = {}  # by module, if they are recorded
        self._calendar = Calendar(plan, self._validates())
        self._lr_factor = lr_factor(self.config.optimizer, plan.total_steps)
        self._waits = plan.make_engine().on_workers  # in one process nothing does
        self._stop = stop
        mirror = self.config.tracking.mirror
        self._mirror = Mirror(mirror, folder.path) if mirror is not None else None

    def _place(self) -> Path:
        """The folder in which its checkpoints are."""
        return self.folder.path

    def _validates(self) -> bool:
        return False

    @abstractmethod
    def _at_sync(self, group: Group) -> None:
        """After a step after which something is due."""

    # where it begins --------------------------------------------------------------------------------------

    def _restore(self, group: Group) -> None:
        """From the newest checkpoint that can be read; from the start if none was taken."""
        held = self.checkpoints.last()
        resized = held is not None and self.plan.make_engine().resizes
        learners = held_in(held) or self.plan.learners if held is not None and resized else self.plan.learners
        found = self.checkpoints.newest(learners, self.reporter.note)
        if found is not None:
            self.progress, states = found
            if len(self.progress.waited or []) != self.plan.modules:
                self.progress.waited = [0.0] * self.plan.modules
            self._load(group, shared_out(states, self.plan))
            self.metrics = dict(self.progress.metrics)
            return
        self.progress = Progress(waited=[0.0] * self.plan.modules)
        if self.begin_with is not None:
            group.load_weights(self.begin_with)

    def _load(self, group: Group, states: list[dict[str, Any]]) -> None:
        """Refuses states of another scheme or synthetic-gradient model, which the weights' shapes do not show."""
        try:
            group.load_states(states)
        except WorkerFailed as failure:
            if failure.may_pass:
                raise
            why = str(failure)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            why = said(error)
        else:
            return
        raise ConfigError(
            f"{self.folder.path / 'config.yaml'} no longer fits the run's checkpoint: {why}; a run goes "
            f"on as it was begun"
        ) from None

    # training -------------------------------------------------------------------------------------------

    def _train(self, group: Group) -> None:
        plan = self.plan
        self.to_first_step = self.to_first_step or time.time() - self.started
        self.reporter.started(plan, self.folder.path, self.progress.step)
        self._begin(group)
        while self.progress.step < plan.total_steps and not self.progress.stopped_early:
            stop = self._calendar.next_sync(self.progress.step)
            self.run_segments(group, stop)
            if (self._stop.asked or self._ends()) and self.progress.step < stop:
                self.run_segments(group, self._calendar.next_checkpoint(self.progress.step, stop), heed_stop=False)
            if self.progress.step == stop or self._ends():
                self._at_sync(group)
            if self._stop.asked:
                self._save_and_stop(group)

    def _begin(self, group: Group) -> None:
        """Before the next step."""
        return

    def _ends(self) -> bool:
        """Whether it is to end at the next step at which it can be saved, because a callback says so or failed."""
        return False

    def _watch_steps(self) -> bool:
        """Whether `_after_segment` may end it, so that no segment is begun before."""
        return False

    def _after_segment(self, stats: list[SegmentStats]) -> None:
        """What was reported of a segment, once it is logged."""
        return

    def run_segments(self, group: Group, stop: int, heed_stop: bool = True) -> None:
        def segments() -> Iterator[Segment]:
            start = self.progress.step
            while start < stop and not (heed_stop and (self._stop.asked or self._ends())):
                end = min(stop, self._calendar.next_log(start))
                yield start, end
                start = end

        one_by_one = ([each] for each in segments()) if self._watch_steps() else (segments(),)
        for some in one_by_one:
            for stats in group.run(some, checkpoint_at=stop):
                self._refuse_nonfinite(group, stats)
                self._log_segment(stats)
                self._after_segment(stats)

    def _checkpoint(self, group: Group, is_best: bool) -> None:
        broken = group.nonfinite()
        if broken is not None:
            raise self._nonfinite_error("a weight", self.progress.step, *broken)
        self._settle(group)
        self.progress.metrics = dict(self.metrics)
        self.checkpoints.save(self.progress, group.states(self.progress.step), is_best)
        self.push()

    def _settle(self, group: Group) -> None:
        """Before states are taken."""
        return

    def push(self) -> None:
        """Copies the run to its mirror. A store that is away for a while ends no run: the next push catches up."""
        if self._mirror is None:
            return
        try:
            self._mirror.push()
        except RunFailed as error:
            self.reporter.note(str(error))

    def _save_and_stop(self, group: Group) -> None:
        if self.checkpoints.last_step() != self.progress.step:
            self._checkpoint(group, is_best=False)
        raise RunInterrupted(
            f"interrupted and saved at step {self.progress.step} of {self.plan.total_steps}{self.steps_of}; "
            f"{how_to_go_on(self.folder.path)}"
        )

    # measuring --------------------------------------------------------------------------------------------

    def _log_segment(self, stats: list[SegmentStats]) -> None:
        p, stop = self.progress, stats[-1].stop
        p.step = stop
        p.train_seconds += max(s.seconds for s in stats)
        p.waited = [before + s.waited for before, s in zip(p.waited or [], stats, strict=True)]
        self.rates += [(s.stop - s.start) / max(s.seconds, 1e-9) for s in stats[-1:]]
        rate = median(self.rates)  # the first segments compete with everything that starts
        values = {
            "lr": self.config.optimizer.lr * (self._lr_factor(stop - 1) if self._lr_factor else 1.0) * p.lr_scale,
            "time/steps_per_second": rate,
            "time/examples_per_second": rate * self.config.data.batch_size,
        }
        values |= series_means(stats)
        if self._waits and len(stats) > 1:
            values |= module_times(stats, p.waited, p.train_seconds)
        for k, s in enumerate(stats):
            if s.spans:
                self.spans.setdefault(k, []).extend(s.spans)
        self._log(values)
        self.reporter.segment(stop, values)

    def _log(self, values: dict[str, float]) -> None:
        if values:
            self.metrics |= values
            self.tracker.metrics(self.progress.step, values)

    def _refuse_nonfinite(self, group: Group, stats: list[SegmentStats]) -> None:
        first = first_nonfinite(stats, self.plan.scheme.series_words)
        if first is None:
            return
        step, module, what = first
        raise self._nonfinite_error(what, step, *(group.nonfinite() or (module, None)))

    def _nonfinite_error(self, what: str, step: int, module: int, parameter: str | None) -> RunFailed:
        inside = f" (its {parameter} is not finite)" if parameter else ""
        last = self.checkpoints.last()
        return RunFailed(
            f"{what} became NaN or infinite at step {step}{self.steps_of}, first in module {module}{inside}; "
            f"{self.remedy}; " + (f"the last good checkpoint is {last}" if last else "no checkpoint had been taken")
        )
