"""The training loop: segments of steps, then evaluation, probe, checkpoint; one loop for every scheme and engine.

    for every epoch:  train on segments of `log_every` steps, evaluate on the validation split,
                      probe the alignment of gradients, checkpoint
    then:             the best weights (the last if there is no validation split) on the test split

All randomness is a function of (seed, purpose, step), so a run resumed from a checkpoint repeats what an
unbroken one computes. Steps leave the device only at the end of a segment.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from torch import Tensor

from unlocked.blame import said
from unlocked.data import DataSet
from unlocked.engine.group import Group, Segment, WorkerFailed
from unlocked.engine.module import SegmentStats
from unlocked.engine.segments import alignments, first_nonfinite, module_times, series_means
from unlocked.errors import ConfigError, RunFailed, RunInterrupted, RunPruned
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Reporter
from unlocked.optim import lr_factor
from unlocked.plan.calendar import Calendar
from unlocked.plan.plan import Plan, first_level, load_data
from unlocked.runs.checkpoint import Checkpoints, Progress, load_weights
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import RunFolder, how_to_go_on
from unlocked.runs.mirror import Mirror
from unlocked.tasks.faults import checked_metrics
from unlocked.tracking import Tracker
from unlocked_models.contract.chain import Chain


@dataclass(frozen=True)
class Tested:
    """The test split under the weights that a run ends with."""

    weights: str  # best | last
    outputs: Tensor
    network: Chain | None  # None if the task needs outputs alone


class Trainer:
    """Trains one run on a group of workers, from its newest checkpoint to the test split.

    What it counts outlives the group: after a failure it goes on with another one.
    """

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
        self.checkpoints = Checkpoints(folder.path)
        self.progress = Progress(waited=[0.0] * plan.modules)
        self.metrics: dict[str, float] = {}  # the latest value of each
        self.rates: deque[float] = deque(maxlen=1000)  # steps per second, of the latest segments
        self.begin_with: dict[str, Tensor] | None = None  # weights; None: those that the workers draw from the seed
        self.to_first_step: float | None = None  # seconds
        self._estimated_at: int | None = None  # the step to which the modules' running statistics belong
        self._calendar = Calendar(plan, data.validation is not None)
        self._lr_factor = lr_factor(self.config.optimizer, plan.total_steps)
        self._waits = plan.make_engine().on_workers  # in one process nothing does
        self._stop = stop
        mirror = self.config.tracking.mirror
        self._mirror = Mirror(mirror, folder.path) if mirror is not None else None

    def run(self, group: Group) -> Tested:
        self._restore(group)
        self._train(group)
        return self._test(group)

    # where it begins --------------------------------------------------------------------------------------

    def _restore(self, group: Group) -> None:
        """From the newest checkpoint that can be read; from the start if none was taken."""
        self._estimated_at = None
        found = self.checkpoints.newest(self.plan.learners, self.reporter.note)
        if found is not None:
            self.progress, states = found
            if len(self.progress.waited or []) != self.plan.modules:
                self.progress.waited = [0.0] * self.plan.modules
            self._load(group, states)
            if self.progress.level is not None:
                self._set_level(group)
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
        if self.progress.step == 0 and self.config.train.probe_every:
            self._probe(group)
        while self.progress.step < plan.total_steps and not self.progress.stopped_early:
            stop = self._calendar.next_sync(self.progress.step)
            self.run_segments(group, stop)
            if self._stop.asked and self.progress.step < stop:
                self.run_segments(group, self._calendar.next_checkpoint(self.progress.step, stop), heed_stop=False)
            if self.progress.step == stop:
                self._end_of_epoch(group, stop // plan.steps_per_epoch)
            if self._stop.asked:
                self._save_and_stop(group)

    def run_segments(self, group: Group, stop: int, heed_stop: bool = True) -> None:
        def segments() -> Iterator[Segment]:
            start = self.progress.step
            while start < stop and not (heed_stop and self._stop.asked):
                end = min(stop, self._calendar.next_log(start))
                yield start, end
                start = end

        for stats in group.run(segments(), checkpoint_at=stop):
            self._refuse_nonfinite(group, stats)
            self._log_segment(stats)

    def _end_of_epoch(self, group: Group, epoch: int) -> None:
        every, last = self.config.train, self.progress.step >= self.plan.total_steps
        values: dict[str, float] = {}
        is_best = False
        if self._calendar.evaluates(epoch):
            self._estimate_statistics(group)
            values |= {f"val/{k}": v for k, v in self._evaluate(group, "validation").items()}
            is_best = self._note_best(values[f"val/{self.task.monitor}"], values["val/loss"])
            values |= {f"best/val_{self.task.monitor}": self.progress.best_value or 0.0}
        if self._calendar.probes(epoch):
            values |= self._probe(group)
        if every.curriculum is not None and "val/bits" in values:
            values["curriculum/level"] = self._climb(group, values["val/bits"] < every.curriculum)
        self._log(values)
        pruned = bool(self.reporter.epoch(epoch, self.metrics)) and not last
        if self._calendar.saves(epoch) or is_best or self.progress.stopped_early or pruned:
            self._checkpoint(group, is_best)
        if pruned:
            raise RunPruned(
                f"ended early after epoch {epoch} of {every.epochs} and saved; {how_to_go_on(self.folder.path)}", epoch
            )

    def _climb(self, group: Group, solved: bool) -> int:
        """The level that training goes on with: the next one if this one is `solved`."""
        p = self.progress
        level = p.level or first_level(self.config)
        if solved:
            level += 1
            # what was best is the best of another, easier set
            p.level, p.level_step, p.best_value, p.best_loss, p.stale_evaluations = level, p.step, None, None, 0
            self._set_level(group)
            self.reporter.note(f"level {level} from step {p.step} on")
        return level

    def _set_level(self, group: Group) -> None:
        level = self.progress.level
        assert level is not None
        self.data = load_data(self.config, level)
        group.set_level(self.data, level, self.progress.level_step)

    def _note_best(self, value: float, loss: float) -> bool:
        """Whether this evaluation is the best so far; equal ones are told apart by their loss."""
        p, sign = self.progress, 1.0 if self.task.higher_is_better else -1.0
        if p.best_value is None or (sign * value, -loss) > (sign * p.best_value, -(p.best_loss or 0.0)):
            p.best_value, p.best_loss, p.best_step, p.stale_evaluations = value, loss, p.step, 0
            return True
        p.stale_evaluations += 1
        patience = self.config.train.patience
        p.stopped_early = patience is not None and p.stale_evaluations >= patience
        if p.stopped_early:
            self.reporter.note(f"stopped early: {patience} evaluations without a better val/{self.task.monitor}")
        return False

    def _checkpoint(self, group: Group, is_best: bool) -> None:
        broken = group.nonfinite()
        if broken is not None:
            raise self._nonfinite_error("a weight", self.progress.step, *broken)
        self._estimate_statistics(group)
        self.progress.metrics = dict(self.metrics)
        self.checkpoints.save(self.progress, group.states(self.progress.step), is_best)
        self.push()

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
            f"interrupted and saved at step {self.progress.step} of {self.plan.total_steps}; "
            f"{how_to_go_on(self.folder.path)}"
        )

    # measuring --------------------------------------------------------------------------------------------

    def _estimate_statistics(self, group: Group) -> None:
        if self._estimated_at != self.progress.step:
            group.estimate_statistics(self.progress.step)
            self._estimated_at = self.progress.step

    def _evaluate(self, group: Group, split: str) -> dict[str, float]:
        return checked_metrics(self.task, self.task.measure(group.outputs(split), self.data, split))

    def _probe(self, group: Group) -> dict[str, float]:
        values = alignments(group.probe())
        if self.progress.step == 0:
            self._log(values)
        return values

    def _log_segment(self, stats: list[SegmentStats]) -> None:
        p, stop = self.progress, stats[-1].stop
        p.step = stop
        p.train_seconds += max(s.seconds for s in stats)
        p.waited = [before + s.waited for before, s in zip(p.waited or [], stats, strict=True)]
        self.rates += [(s.stop - s.start) / max(s.seconds, 1e-9) for s in stats[-1:]]
        rate = median(self.rates)  # the first segments compete with everything that starts
        values = {
            "lr": self.config.optimizer.lr * (self._lr_factor(stop - 1) if self._lr_factor else 1.0),
            "time/steps_per_second": rate,
            "time/examples_per_second": rate * self.config.data.batch_size,
        }
        values |= series_means(stats)
        if self._waits and len(stats) > 1:
            values |= module_times(stats, p.waited, p.train_seconds)
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
            f"{what} became NaN or infinite at step {step}, first in module {module}{inside}; "
            f"a lower optimizer.lr or optimizer.clip_norm may help; "
            + (f"the last good checkpoint is {last}" if last else "no checkpoint had been taken")
        )

    # the end ----------------------------------------------------------------------------------------------

    def _test(self, group: Group) -> Tested:
        best = self.checkpoints.best() if self.data.validation is not None else None
        weights = "best" if best is not None else "last"
        if best is not None:
            group.load_weights(load_weights(best))
        outputs = group.outputs("test")
        measured = checked_metrics(self.task, self.task.measure(outputs, self.data, "test"))
        network: Chain | None = None
        if self.task.asks_network:
            network, _ = load_chain(self.folder.path, self.config, self.data, weights)
            final = self.task.final_metrics(network, self.data, "test")
            measured |= checked_metrics(self.task, final, "final_metrics")
        self._log({f"test/{k}": v for k, v in measured.items()})
        return Tested(weights, outputs, network)
