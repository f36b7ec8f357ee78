"""The training loop: segments of steps, then evaluation, probe, checkpoint; one loop for every scheme and place.

    for every epoch:  train on segments of `log_every` steps, evaluate on the validation split,
                      probe the alignment of gradients, checkpoint
    then:             the best weights (the last where there is no validation split) on the test split

All randomness is a function of (seed, purpose, step), so a run resumed from a checkpoint repeats what an
unbroken one computes. Steps leave the device only at the end of a segment.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from torch import Tensor

from unlocked.blame import refuse_users_fault, said
from unlocked.config import Config, to_dict
from unlocked.data import DataSet
from unlocked.engine.group import Group, InProcessGroup, Segment
from unlocked.engine.module import SegmentStats
from unlocked.engine.segments import alignments, first_nonfinite, module_times, series_means
from unlocked.errors import ConfigError, RunFailed, RunInterrupted, RunPruned
from unlocked.launch import private_ray
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.report import draw_figures, run_tags
from unlocked.loop.transfer import initial_weights, plan_run
from unlocked.optim import lr_factor
from unlocked.plan.calendar import Calendar
from unlocked.plan.plan import Plan, first_level, load_data, make_plan
from unlocked.runs.begun import going_on, refuse_edited
from unlocked.runs.checkpoint import Checkpoints, Progress, load_weights
from unlocked.runs.evaluate import load_chain
from unlocked.runs.fit import refuse_misfit
from unlocked.runs.folder import RunFolder, check_tokens, keep_tokens, one_line_when_full, resume_command
from unlocked.runs.longer import lengthened_tags
from unlocked.runs.mirror import Mirror
from unlocked.runs.needs import bring, keep_needs
from unlocked.schema.keys import TrackingConfig
from unlocked.tracking import StudyTracking, Tracker, flatten, resolve_uri, sync_leftovers
from unlocked_models.contract.chain import Chain


class Reporter(Protocol):
    """Who watches a run: the progress display. All calls come from the driver's thread."""

    def started(self, plan: Plan, run_dir: Path, step: int) -> None: ...

    def segment(self, step: int, values: dict[str, float]) -> None: ...

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None:
        """True ends the run here, with a checkpoint: it is not worth more time."""
        ...

    def note(self, text: str) -> None: ...


class Silent:
    def started(self, plan: Plan, run_dir: Path, step: int) -> None: ...

    def segment(self, step: int, values: dict[str, float]) -> None: ...

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None: ...

    def note(self, text: str) -> None: ...


def train(
    config: Config,
    *,
    imports: Sequence[str] = (),
    reporter: Reporter | None = None,
    started: float | None = None,
    study: StudyTracking | None = None,
    stop: StopSignal | None = None,
) -> dict[str, Any]:
    """One run of a configuration, from its first step to its summary; of a `study` where it is a trial of one.

    `stop` is asked between segments whether to save and stop; without one Ctrl-C and SIGTERM are caught.

    Returns the summary: run folder, MLflow run id, metrics, steps per second, wait fractions, seconds.
    Raises `ConfigError` or `DataError` before anything starts, `RunFailed` when it cannot go on, and
    `RunInterrupted` after Ctrl-C (`RunPruned` where the reporter ended it), with a checkpoint saved.

    >>> from unlocked import load_config
    >>> summary = train(load_config("quickstart", ["parallel.engine=inprocess", "train.epochs=1"]))  # doctest: +SKIP
    """
    started = started or time.time()
    data = load_data(config)
    plan = plan_run(config, data)
    config = plan.config
    if config.tracking.uri is not None:
        resolve_uri(config.tracking.uri, Path(config.tracking.runs))  # refuses what is no address
    if config.tracking.mirror is not None:
        Mirror.check(config.tracking.mirror)
    folder = RunFolder.create(config)
    with one_line_when_full(folder.path):
        keep_needs(folder.path, imports)
        keep_tokens(folder.path, data)
    return _Run(plan, data, folder, imports, reporter or Silent(), started, study, stop).complete()


def resume(
    run_dir: Path,
    *,
    imports: Sequence[str] = (),
    reporter: Reporter | None = None,
    started: float | None = None,
    study: StudyTracking | None = None,
    stop: StopSignal | None = None,
    patience: float = 0.0,
    addresses: TrackingConfig | None = None,
) -> dict[str, Any]:
    """Goes on with a run from its last checkpoint (from the start where it has none), to the same numbers.

    Its modules of the user's are imported as when it was begun, if this user signed for them; else they are to be given
    as `imports`. `patience`: seconds to wait where another process still trains it. `addresses`: with the
    passwords that a run folder does not keep; else they are taken from the environment.
    """
    started = started or time.time()
    imports = bring(run_dir, imports)
    folder, config = RunFolder.open(run_dir, patience, addresses)
    data = load_data(config)
    check_tokens(run_dir, data)
    plan = make_plan(config, data)
    refuse_misfit(run_dir, plan)
    refuse_edited(run_dir, plan.config)
    return _Run(plan, data, folder, imports, reporter or Silent(), started, study, stop).complete()


class _Run:
    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        folder: RunFolder,
        imports: Sequence[str],
        reporter: Reporter,
        started: float,
        study: StudyTracking | None = None,
        stop: StopSignal | None = None,
    ):
        self.plan, self.config, self.data, self.folder = plan, plan.config, data, folder
        self.imports, self.reporter, self.started, self.study = list(imports), reporter, started, study
        self.task = plan.make_task()
        self.checkpoints = Checkpoints(folder.path)
        mirror = self.config.tracking.mirror
        self.mirror = Mirror(mirror, folder.path) if mirror is not None else None
        self.progress = Progress(waited=[0.0] * plan.modules)
        self.metrics: dict[str, float] = {}  # the latest value of each
        self.rates: deque[float] = deque(maxlen=1000)  # steps per second, of the latest segments
        self.failures = 0
        self._estimated_at: int | None = None  # the step to which the modules' running statistics belong
        self._begin_with: dict[str, Tensor] | None = None  # None: what the workers draw from the seed
        self.to_first_step: float | None = None
        self.calendar = Calendar(plan, data.validation is not None)
        factor = lr_factor(self.config.optimizer, plan.total_steps)
        self._lr = lambda step: self.config.optimizer.lr * (factor(step) if factor else 1.0)
        self._stop = stop or StopSignal()
        self._catches_signals = stop is None

    def complete(self) -> dict[str, Any]:
        try:
            with one_line_when_full(self.folder.path):
                return self._complete()
        finally:
            if self.study is None:
                private_ray.last_words("")

    def _complete(self) -> dict[str, Any]:
        if self.study is None:  # which has asked already
            sync_leftovers(self.folder.path.parent, self.config.tracking.uri, note=self.reporter.note)
        params = flatten(to_dict(self.config))
        tags = run_tags(self.plan, self.data, self.imports, lengthened_tags(self.folder.path))
        tags = going_on(self.folder.path, params, tags, self.reporter.note)
        tracker = Tracker.start(
            self.folder.path, self.config.tracking.uri, self.config.tracking.experiment, params, tags, study=self.study
        )
        self.tracker = tracker
        status: Any = "FAILED"
        summary: dict[str, Any] | None = None
        try:
            with self._stop if self._catches_signals else contextlib.nullcontext():
                self._train_through_failures()
            summary = self._finish()
            status = "FINISHED"
        except (RunInterrupted, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            run_id = tracker.close(status, summary and summary["metrics"])
            if tracker.unsent:
                self.reporter.note(tracker.unsent)
            self.folder.release()
        assert summary is not None
        summary["mlflow_run_id"] = run_id
        summary["seconds"] = time.time() - self.started
        self.folder.write_summary(summary)
        self._push()
        return summary

    # the workers, and what happens when they die --------------------------------------------------------

    def _train_through_failures(self) -> None:
        from unlocked.launch.ray_group import WorkerFailed, ray_died

        if not self.checkpoints.all():
            self._begin_with = initial_weights(
                self.plan,
                self.data,
                self.folder.path,
                self.tracker.recorder.metrics,
                self.reporter.note,
                lambda: self._stop.asked,
            )
        while True:
            group: Group | None = None
            try:
                group = self._launch()
                self._restore(group)
                self._train(group)
                self._test(group)
                return
            except BaseException as error:
                if not isinstance(error, Exception):
                    if not self._stop.asked:
                        refuse_users_fault(error)
                    raise
                failure = error if isinstance(error, WorkerFailed) else ray_died()  # whatever it made fail first
                if failure is None:
                    refuse_users_fault(error)
                    raise
                self.failures += 1
                if not failure.may_pass or self.failures > self.config.parallel.max_failures:
                    tries = f" ({self.failures - 1} restarts before it)" if self.failures > 1 else ""
                    failure.args = (f"{failure.args[0]}{tries}; {self._where_to_go_on()}",)
                    raise failure from None
                last = self.checkpoints.last()
                self.reporter.note(
                    f"{failure}; restart {self.failures} of {self.config.parallel.max_failures} from "
                    f"{last.name if last else 'the start'}"
                )
            finally:
                if group is not None:
                    group.close()

    def _launch(self) -> Group:
        if self.plan.engine == "inprocess":
            return InProcessGroup(self.plan, self.data)
        from unlocked.launch.ray_group import RayGroup

        if self.study is None:  # which has its own
            private_ray.last_words(self._where_to_go_on())
        return RayGroup(self.plan, self.data, self.imports, again=self.failures > 0)

    def _restore(self, group: Group) -> None:
        """From the newest checkpoint that can be read; from the start where none was taken."""
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
        if self._begin_with is not None:
            group.load_weights(self._begin_with)

    def _load(self, group: Group, states: list[dict[str, Any]]) -> None:
        """What the weights' shapes do not tell: another scheme, another synthetic-gradient model."""
        from unlocked.launch.ray_group import WorkerFailed

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
        plan, every = self.plan, self.config.train
        self.to_first_step = self.to_first_step or time.time() - self.started
        self.reporter.started(plan, self.folder.path, self.progress.step)
        if self.progress.step == 0 and every.probe_every:
            self._probe(group)
        while self.progress.step < plan.total_steps and not self.progress.stopped_early:
            stop = self.calendar.next_sync(self.progress.step)
            self._run_segments(group, stop)
            if self._stop.asked and self.progress.step < stop:
                self._run_segments(group, self.calendar.next_checkpoint(self.progress.step, stop), heed_stop=False)
            if self.progress.step == stop:
                self._end_of_epoch(group, stop // plan.steps_per_epoch)
            if self._stop.asked:
                self._save_and_stop(group)

    def _run_segments(self, group: Group, stop: int, heed_stop: bool = True) -> None:
        def segments() -> Iterator[Segment]:
            start = self.progress.step
            while start < stop and not (heed_stop and self._stop.asked):
                end = min(stop, self.calendar.next_log(start))
                yield start, end
                start = end

        for stats in group.run(segments(), checkpoint_at=stop):
            self._refuse_nonfinite(group, stats)
            self._log_segment(stats)

    def _end_of_epoch(self, group: Group, epoch: int) -> None:
        every, last = self.config.train, self.progress.step >= self.plan.total_steps
        values: dict[str, float] = {}
        is_best = False
        if self.calendar.evaluates(epoch):
            self._estimate_statistics(group)
            values |= {f"val/{k}": v for k, v in self._evaluate(group, "validation").items()}
            is_best = self._note_best(values[f"val/{self.task.monitor}"], values["val/loss"])
            values |= {f"best/val_{self.task.monitor}": self.progress.best_value or 0.0}
        if self.calendar.probes(epoch):
            values |= self._probe(group)
        if every.curriculum is not None and "val/bits" in values:
            values["curriculum/level"] = self._climb(group, values["val/bits"] < every.curriculum)
        self._log(values)
        pruned = bool(self.reporter.epoch(epoch, self.metrics)) and not last
        if self.calendar.saves(epoch) or is_best or self.progress.stopped_early or pruned:
            self._checkpoint(group, is_best)
        if pruned:
            raise RunPruned(
                f"ended early after epoch {epoch} of {every.epochs} and saved; {self._where_to_go_on()}", epoch
            )

    def _climb(self, group: Group, solved: bool) -> int:
        """The level that training goes on with: the next one where this one is `solved`."""
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
        self._push()

    def _push(self) -> None:
        """A store that is away for a while ends no run: the next checkpoint catches up."""
        if self.mirror is None:
            return
        try:
            self.mirror.push()
        except RunFailed as behind:
            self.reporter.note(str(behind))

    def _save_and_stop(self, group: Group) -> None:
        last = self.checkpoints.last()
        if last is None or last.name != f"step-{self.progress.step:08d}":
            self._checkpoint(group, is_best=False)
        raise RunInterrupted(
            f"interrupted and saved at step {self.progress.step} of {self.plan.total_steps}; {self._where_to_go_on()}"
        )

    # measuring --------------------------------------------------------------------------------------------

    def _estimate_statistics(self, group: Group) -> None:
        if self._estimated_at != self.progress.step:
            group.estimate_statistics(self.progress.step)
            self._estimated_at = self.progress.step

    def _evaluate(self, group: Group, split: str) -> dict[str, float]:
        return self.task.metrics(group.outputs(split), self.task.target(getattr(self.data, split)))

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
            "lr": self._lr(stop - 1),
            "time/steps_per_second": rate,
            "time/examples_per_second": rate * self.config.data.batch_size,
        }
        values |= series_means(stats)
        if self.plan.engine == "ray" and len(stats) > 1:  # in one process nothing waits
            values |= module_times(stats, p.waited, p.train_seconds)
        self._log(values)
        self.reporter.segment(stop, values)

    def _log(self, values: dict[str, float]) -> None:
        if values:
            self.metrics |= values
            self.tracker.metrics(self.progress.step, values)

    def _refuse_nonfinite(self, group: Group, stats: list[SegmentStats]) -> None:
        first = first_nonfinite(stats)
        if first is None:
            return
        step, module, what = first
        raise self._nonfinite_error(what, step, *(group.nonfinite() or (module, None)))

    def _nonfinite_error(self, what: str, step: int, module: int, parameter: str | None) -> RunFailed:
        inside = f" (its {parameter} is not finite)" if parameter else ""
        return RunFailed(
            f"{what} became NaN or infinite at step {step}, first in module {module}{inside}; "
            f"a lower optimizer.lr or optimizer.clip_norm may help; {self._kept()}"
        )

    def _kept(self) -> str:
        last = self.checkpoints.last()
        return f"the last good checkpoint is {last}" if last else "no checkpoint had been taken"

    def _where_to_go_on(self) -> str:
        return f"go on with: {resume_command(self.folder.path)}"

    # the end ----------------------------------------------------------------------------------------------

    def _test(self, group: Group) -> None:
        best = self.checkpoints.best() if self.data.validation is not None else None
        self.tested = "best" if best is not None else "last"
        if best is not None:
            group.load_weights(load_weights(best))
        self.test_outputs = group.outputs("test")
        measured = self.task.metrics(self.test_outputs, self.task.target(self.data.test))
        self.trained: Chain | None = None
        if self.task.asks_network:
            self.trained, _ = load_chain(self.folder.path, self.config, self.data, self.tested)
            measured |= self.task.final_metrics(self.trained, self.data, "test")
        self._log({f"test/{k}": v for k, v in measured.items()})

    def _finish(self) -> dict[str, Any]:
        p, config = self.progress, self.config
        recorder = self.tracker.recorder
        if config.tracking.figures:
            for path in draw_figures(self.folder.path, self.plan, self.data, self.test_outputs, self.trained):
                recorder.artifact(path, "figures")
        summary = {
            "run": self.folder.name,
            "run_dir": str(self.folder.path),
            "mlflow_run_id": None,
            "data": config.data.name,
            "model": config.model["name"],
            "scheme": config.scheme.name,
            "modules": self.plan.modules,
            "replicas": config.parallel.replicas,
            "lag": self.plan.lag,
            "engine": self.plan.engine,
            "seed": config.seed,
            "steps": p.step,
            "epochs": p.step // self.plan.steps_per_epoch,
            "parameters": sum(self.plan.parameters),
            "tested": self.tested,
            "metrics": dict(self.metrics),
            "steps_per_second": median(self.rates) if self.rates else None,
            "wait_fraction": [w / p.train_seconds for w in p.waited or []] if p.train_seconds else None,
            "train_seconds": p.train_seconds,
            "seconds_to_first_step": self.to_first_step,
            "restarts": self.failures,
            "seconds": time.time() - self.started,
        }
        recorder.artifact(self.folder.path / "config.yaml")
        weights = self.checkpoints.best() if self.tested == "best" else self.checkpoints.last()
        if weights is not None:
            recorder.artifact(weights / "model.safetensors", "model")
        recorder.artifact(self.folder.write_summary(summary))
        return summary
