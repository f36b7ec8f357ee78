"""`sweep(config)`: the trials of a study, each a full run, one after another or several at once.

    open the study (or go on with it), queue what it must try
    until it has all its trials:  start trials while there is room, wait for one to end, record it
    at the end:                   a table, plots, and the best configuration as a file to train from

Every trial is a run like any other, in a folder of its own beside the study's, and nested under the study in MLflow.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Protocol

from unlocked.config import Config, to_dict
from unlocked.drawing.inline import INLINE, inline_copies
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.files import locked, write_whole
from unlocked.launch import private_ray
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.report import shown_params
from unlocked.runs.folder import plain, write_config
from unlocked.runs.needs import keep_needs
from unlocked.studies.check import check_study
from unlocked.studies.dimensions import text
from unlocked.studies.report import Leader, mean_of, write_report
from unlocked.studies.result import StudyResult
from unlocked.studies.runners import make_runner
from unlocked.studies.search import is_grid
from unlocked.studies.shown import shown_figures, study_page, study_tags
from unlocked.studies.space import Point, Space, name_of
from unlocked.studies.study import Study, known_study
from unlocked.studies.trial import Job, Outcome
from unlocked.tracking import StudyRuns, Tracker, flatten, resolve_uri, sync_leftovers

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Progress:
    """One trial behind us; times in seconds."""

    done: int
    total: int | None  # None: until the time is up
    number: int
    trial: str
    values: list[float] | None  # of the metrics; of a pruned trial the last one it reported
    failure: str | None  # one line
    pruned: int | None  # the epoch
    seconds: float
    best: str | None  # in words
    left: float | None


class Watcher(Protocol):
    """Who watches a study: the progress display. All calls come from the driver's thread."""

    def started(self, folder: Path, done: int, total: int | None, at_once: int) -> None: ...

    def began(self, number: int, trial: str) -> None: ...

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> None: ...

    def finished(self, progress: Progress) -> None: ...

    def retried(self, number: int, text: str) -> None:
        """The process of a trial died; its point is queued again as a trial of its own."""
        ...

    def note(self, text: str) -> None: ...


class Unwatched:
    """A watcher of which nothing is seen; others build on it."""

    def started(self, folder: Path, done: int, total: int | None, at_once: int) -> None: ...

    def began(self, number: int, trial: str) -> None: ...

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> None: ...

    def finished(self, progress: Progress) -> None: ...

    def retried(self, number: int, text: str) -> None: ...

    def note(self, text: str) -> None: ...


def sweep(
    config: Config,
    *,
    imports: Sequence[str] = (),
    watcher: Watcher | None = None,
    plot: Path | None = None,
    retry_failed: bool = False,
    started: float | None = None,
) -> StudyResult:
    """The study of `config.sweep`, from its first trial, or from where it was interrupted, to its summary.

    Args:
        imports: modules with models, data sets or schemes, for the processes of trials.
        watcher: told of every trial.
        plot: where to put a copy of the study's plot.
        retry_failed: queue the points again whose trial failed; others are never repeated.

    Returns the summary, a mapping: study folder, numbers of trials, the best, paths of the table, the plots and
    `best.yaml`; with `study.frame()`, its trials as a pandas table, and `study.figure()`.
    Raises `ConfigError` or `DataError` before anything starts, among them that a study of this name exists with
    another space, and `RunInterrupted` after Ctrl-C: the same call goes on.

    >>> from unlocked import load_config, sweep
    >>> sweep(load_config("studies/lag"))["best"]  # doctest: +SKIP
    """
    started = started or time.time()
    watcher = watcher or Unwatched()
    space = Space(config)
    checked = check_study(config, space)
    for warning in checked.warnings:
        watcher.note(warning)
    if config.tracking.uri is not None:
        resolve_uri(config.tracking.uri, Path(config.tracking.runs))  # refuses what is no address
    folder = _make_folder(config)
    with locked(folder / "lock", timeout=0.0) as held:
        if not held:
            raise ConfigError(f"name: the study {folder} is being run by another process")
        study = Study(folder, config, space)
        write_config(config, folder / "study.yaml")  # it says where the record is
        keep_needs(folder, imports)
        study.enqueue(checked.queued, retry_failed)
        summary = _Sweep(config, space, study, folder, imports, watcher).complete()
    if plot is not None and "plot" in summary:
        plot.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(summary["plot"], plot)
    return StudyResult(summary | {"seconds": time.time() - started})


def folder_of(config: Config) -> Path:
    return Path(config.tracking.runs) / plain(config.name)


def _make_folder(config: Config) -> Path:
    """The study's folder, made if it is missing; `ConfigError` if something else lies there."""
    folder = folder_of(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} - {"lock"}
    except OSError as error:
        raise ConfigError(f"tracking.runs: {folder} cannot be written: {error.strerror}") from None
    if others and not known_study(folder):
        raise ConfigError(f"name: {folder} exists and is no study; give this one another name (name=...)")
    return folder


@dataclass
class _Live:
    """A trial under way."""

    trial: Trial
    point: Point
    job: Job
    began: float


class _Sweep:
    """The loop over trials, and the judge that they report to."""

    def __init__(
        self, config: Config, space: Space, study: Study, folder: Path, imports: Sequence[str], watcher: Watcher
    ):
        self.config, self.space, self.study, self.folder = config, space, study, folder
        self.imports, self.watcher = imports, watcher
        self.runs, self.stop = StudyRuns(folder), StopSignal()
        self.metric = config.sweep.metrics()[0]
        self.live: dict[int, _Live] = {}
        records = list(study.records())
        self.done, self.before = len(records), len(records)
        self.leader = Leader(config, space, records)
        # a grid has its queue; a search has its number of trials, queued ones and failures included
        self.total = self.done + study.waiting() if is_grid(config) else config.sweep.trials
        self.deadline = time.monotonic() + 3600 * config.sweep.hours if config.sweep.hours else None
        self.began = time.monotonic()

    def complete(self) -> dict[str, Any]:
        if self.total is not None and self.done >= self.total:
            self.watcher.started(self.folder, self.done, self.done, 0)
            if waiting := self.study.waiting():
                self.watcher.note(f"{waiting} queued trials wait for a larger sweep.trials")
            return write_report(self.config, self.space, self.study, self.folder)
        tracking, root = self.config.tracking, Path(self.config.tracking.runs)
        sync_leftovers(root, tracking.uri, note=self.watcher.note)
        self.tracker = Tracker.start(
            self.folder,
            tracking.uri,
            tracking.experiment,
            flatten(to_dict(self.config)),
            study_tags(self.config, self.space),
            root,
            shown=shown_params(self.config),
        )
        status: Any = "FAILED"
        page: dict[str, Any] | None = None
        try:
            self._run_trials()
            summary = write_report(self.config, self.space, self.study, self.folder)
            for path in summary["files"]:
                self.tracker.recorder.artifact(Path(path))
            self.tracker.recorder.artifact(inline_copies(shown_figures(summary), self.folder / INLINE), INLINE)
            self.tracker.recorder.artifact(self.folder / "study.yaml")
            status = "FINISHED"
            metric = self.metric
            page = study_page(summary, self.study.records(), lambda row: mean_of(row, metric))
            return summary
        except (RunInterrupted, KeyboardInterrupt):
            status = "KILLED"
            total = f" of {self.total}" if self.total is not None else ""
            raise RunInterrupted(f"interrupted; {self.done}{total} trials are done; {self._where_to_go_on()}") from None
        except RunFailed as failure:
            failure.args = (f"{failure}; {self._where_to_go_on()}",)
            raise
        finally:
            private_ray.last_words("")
            if not self.runs.close():
                self.watcher.note("tracking: some runs are still to be sent; the next unlocked command sees to it")
            self.tracker.close(status, page=page)
            if self.tracker.unsent:
                self.watcher.note(self.tracker.unsent)

    def _where_to_go_on(self) -> str:
        return f"go on with: unlocked sweep {quote(str((self.folder / 'study.yaml').absolute()))}"

    def _run_trials(self) -> None:
        private_ray.last_words(self._where_to_go_on())
        with self.stop:
            runner = make_runner(self.config, self.space, self.runs, self.stop, self.imports)
            self.watcher.started(self.folder, self.done, self.total, runner.limit)
            ready: _Live | None = None
            try:
                while True:
                    while not self.stop.asked and len(self.live) < runner.limit:
                        ready = ready or self._ask()
                        if ready is None or not (runner.has_room(ready.job) or not self.live):
                            break
                        self.live[ready.job.number] = ready
                        self.watcher.began(ready.job.number, name_of(ready.point))
                        runner.start(ready.job)
                        ready = None
                    if not self.live:
                        break
                    job, outcome = runner.next(self)
                    self._end(self.live.pop(job.number), outcome)
            finally:
                runner.close()
                for left in [*self.live.values(), *([ready] if ready else [])]:
                    self.study.wait_again(left.trial)
        if self.stop.asked:
            raise RunInterrupted("interrupted")

    def _ask(self) -> _Live | None:
        """The next trial, ready to start; None when there is to be none."""
        while not self._all_asked() and (self.deadline is None or time.monotonic() < self.deadline):
            trial, point = self.study.ask()
            attrs = trial.user_attrs
            chosen = {name: text(label) for name, label in point.items()}
            swept = list(self.space.values(point))
            job = Job(trial.number, self.config, self.metric, attrs.get("runs", {}), self.imports, chosen, swept)
            live = _Live(trial, point, job, time.monotonic())
            if "pruned" in attrs:  # a kill came between this and its state
                self._end(live, Outcome(pruned=attrs["pruned"]))
                continue
            try:
                config = replace(self.space.config(point), sweep=replace(self.config.sweep, space={}))
            except ConfigError as error:  # of a search: a combination that cannot be
                self._end(live, Outcome(failure=str(error)))
                continue
            return replace(live, job=replace(job, config=config))
        return None

    def _all_asked(self) -> bool:
        return self.total is not None and self.done + len(self.live) >= self.total

    def _end(self, live: _Live, outcome: Outcome) -> None:
        """Records what a trial came to."""
        trial, failure, values = live.trial, outcome.failure, None
        if outcome.interrupted:
            self.study.wait_again(trial)
            self.stop.asked = True
            return
        if outcome.pruned is not None:
            self.study.prune(trial, outcome.pruned)
        elif failure is None:
            values, failure = self.study.complete(trial, outcome.summaries)
        if failure is not None:
            log = self.folder / "failures" / f"trial-{trial.number:04d}.txt"
            write_whole(log, f"{name_of(live.point)}\n\n{failure}\n\n{outcome.detail}")
            self.study.fail(trial, failure)
            retries = trial.user_attrs.get("retries", 0)
            if outcome.may_pass and retries < self.config.sweep.retries:
                self.study.retry(trial.number, live.point, retries + 1, live.job.runs)
                self.watcher.retried(trial.number, f"trial {trial.number}: {failure}; it is tried again")
                return
        self.done += 1
        record = self.study.record(trial.number)
        self.leader.add(record)
        if values is not None:
            names = self.config.sweep.metrics()
            self.tracker.metrics(
                self.study.finished(),
                {**{f"trial/{name}": value for name, value in zip(names, values, strict=True)}, **self.leader.best()},
            )
        seconds = time.monotonic() - live.began
        left = None
        if self.total is not None:
            left = (time.monotonic() - self.began) / (self.done - self.before) * (self.total - self.done)
        if self.deadline is not None:
            left = min(max(self.deadline - time.monotonic(), 0.0), left if left is not None else float("inf"))
        self.watcher.finished(
            Progress(
                self.done,
                self.total,
                trial.number,
                name_of(live.point),
                record.values,
                failure,
                outcome.pruned,
                seconds,
                self.leader.words(),
                left,
            )
        )

    # the judge of its trials -------------------------------------------------------------------------------

    def begun(self, number: int, seed: int, run: str) -> None:
        """Notes the run folder, so that an interrupted trial can go on from there."""
        live = self.live[number]
        live.job.runs[str(seed)] = run
        live.trial.set_user_attr("runs", live.job.runs)

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> bool:
        live = self.live.get(number)
        if live is None:  # a word for the display that came behind the trial's outcome
            return False
        self.watcher.epoch(number, epoch, epochs, value)
        if value is None or self.config.sweep.pruner is None:
            return False
        return self.study.should_prune(live.trial, epoch, value)

    def note(self, number: int, text: str) -> None:
        self.watcher.note(f"trial {number}: {text}")
