"""`sweep(config)`: the trials of a study, one after another in this process, each a full run.

    open the study (or go on with it), queue the points of the space that have no trial yet
    while one is waiting:  ask for it, train it (or resume what was interrupted), tell its value or its failure
    at the end:            a table, a plot, and the best group of seeds

Every trial is a run like any other, in a folder of its own beside the study's, and nested under the study in MLflow.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unlocked.config import Config, to_dict, to_yaml
from unlocked.engine.loop import Silent, resume, train
from unlocked.engine.plan import Plan
from unlocked.engine.run_folder import plain
from unlocked.errors import ConfigError, RunInterrupted, UnlockedError, reason
from unlocked.studies.check import check_study
from unlocked.studies.report import best_of, mean_of, rows_of, write_report
from unlocked.studies.space import Point, Space, name_of
from unlocked.studies.study import JOURNAL, Study
from unlocked.tracking import Row, StudyRuns, Tracker, collect_tags, flatten, resolve_uri, sync_leftovers
from unlocked.tracking.folder import locked

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Progress:
    """One trial behind us: `value` is its metric, `failure` one line where it has none; times in seconds."""

    done: int
    total: int
    trial: str
    value: float | None
    failure: str | None
    seconds: float
    best: Row | None
    best_mean: float
    left: float


class Watcher(Protocol):
    """Who watches a study: the progress display."""

    def started(self, folder: Path, done: int, total: int) -> None: ...

    def finished(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None: ...


class _Nobody:
    def started(self, folder: Path, done: int, total: int) -> None: ...

    def finished(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None: ...


def sweep(config: Config, *, imports: Sequence[str] = (), watcher: Watcher | None = None, plot: Path | None = None,
          retry_failed: bool = False, started: float | None = None) -> dict[str, Any]:
    """The study of `config.sweep`, from its first trial, or from where it was interrupted, to its summary.

    Args:
        imports: modules with models, data sets or schemes, for the workers of trials that run on Ray.
        watcher: told of every trial.
        plot: where to put a copy of the study's plot.
        retry_failed: queue the points again whose trial failed; others are never repeated.

    Returns the summary: study folder, numbers of trials, the best group of seeds, paths of the table and the plot.
    Raises `ConfigError` or `DataError` before anything starts, among them that a study of this name exists with
    another space, and `RunInterrupted` after Ctrl-C: the same call goes on.

    >>> from unlocked import load_config, sweep
    >>> sweep(load_config("studies/lag"))["best"]  # doctest: +SKIP
    """
    started = started or time.time()
    space = Space(config)
    points = space.grid()
    check_study(config, space, points)
    if config.tracking.uri is not None:
        resolve_uri(config.tracking.uri, Path(config.tracking.runs))  # refuses what is no address
    folder = _folder(config)
    with locked(folder / "lock", timeout=0.0) as held:
        if not held:
            raise ConfigError(f"name: the study {folder} is being run by another process")
        study = Study(folder, config, space)
        (folder / "study.yaml").write_text(to_yaml(config))
        study.enqueue(points, retry_failed)
        summary = _Sweep(config, space, study, folder, imports, watcher or _Nobody()).complete()
    if plot is not None and "plot" in summary:
        plot.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(summary["plot"], plot)
    return summary | {"seconds": time.time() - started}


class _Sweep:
    def __init__(self, config: Config, space: Space, study: Study, folder: Path, imports: Sequence[str],
                 watcher: Watcher):
        self.config, self.space, self.study, self.folder = config, space, study, folder
        self.imports, self.watcher = imports, watcher
        self.runs = StudyRuns(folder)

    def complete(self) -> dict[str, Any]:
        waiting, done = self.study.waiting(), len(list(self.study.records()))
        self.watcher.started(self.folder, done, done + waiting)
        if not waiting:
            return self._summary()
        tracking, root = self.config.tracking, Path(self.config.tracking.runs)
        sync_leftovers(root, tracking.uri)
        tags = collect_tags() | {"name": self.config.name, "unlocked.kind": "study"}
        self.tracker = Tracker.start(self.folder, tracking.uri, tracking.experiment, flatten(to_dict(self.config)),
                                     tags, root)
        status: Any = "FAILED"
        try:
            self._run_trials(done, done + waiting)
            summary = self._summary()
            for name in ("table", "plot"):
                if name in summary:
                    self.tracker.recorder.artifact(Path(summary[name]))
            self.tracker.recorder.artifact(self.folder / "study.yaml")
            status = "FINISHED"
            return summary
        except (RunInterrupted, KeyboardInterrupt):
            status = "KILLED"
            behind = len(list(self.study.records()))
            raise RunInterrupted(f"interrupted; {behind} of {done + waiting} trials are behind it, the same command "
                                 f"goes on with the rest") from None
        finally:
            if not self.runs.close():
                self.watcher.note("tracking: some runs are still to be sent; the next unlocked command sees to it")
            self.tracker.close(status)
            if self.tracker.unsent:
                self.watcher.note(self.tracker.unsent)

    def _run_trials(self, done: int, total: int) -> None:
        spent: list[float] = []
        while (asked := self.study.ask()) is not None:
            trial, point = asked
            began = time.time()
            value, failure = self._run_trial(trial, point)
            spent.append(time.time() - began)
            done += 1
            rows = rows_of(self.config, self.space, self.study.records())
            best = best_of(rows)
            best_mean = mean_of(best, self.config.sweep.metric) if best else float("nan")
            if value is not None:
                self.tracker.recorder.metrics(done, {f"trial/{self.config.sweep.metric}": value,
                                                     f"best_mean/{self.config.sweep.metric}": best_mean})
            self.watcher.finished(Progress(done, total, name_of(point), value, failure, spent[-1], best, best_mean,
                                           sum(spent) / len(spent) * (total - done)))

    def _run_trial(self, trial: Trial, point: Point) -> tuple[float | None, str | None]:
        """Its value, or why it has none; only an interruption leaves it unfinished."""
        try:
            summary = self._train(trial, point)
        except RunInterrupted:
            raise
        except Exception as error:
            failure = str(error) if isinstance(error, UnlockedError) else f"{type(error).__name__}: {reason(error)}"
            log = self.folder / "failures" / f"trial-{trial.number:04d}.txt"
            log.parent.mkdir(exist_ok=True)
            log.write_text(f"{name_of(point)}\n\n{traceback.format_exc()}{getattr(error, 'detail', None) or ''}")
            self.study.fail(trial, failure)
            return None, failure
        return self.study.complete(trial, summary)

    def _train(self, trial: Trial, point: Point) -> dict[str, Any]:
        watch, known = _TrialReporter(trial, self.watcher), trial.user_attrs.get("run")
        run = Path(self.config.tracking.runs) / known if known else None
        if run is not None and (run / "config.yaml").exists():
            return resume(run, imports=self.imports, reporter=watch, study=self.runs)
        return train(self.space.config(point), imports=self.imports, reporter=watch, study=self.runs)

    def _summary(self) -> dict[str, Any]:
        config, records = self.config, list(self.study.records())
        rows = rows_of(config, self.space, records)
        best = best_of(rows)
        failed = [record for record in records if record.summary is None]
        summary: dict[str, Any] = {
            "study": self.folder.name, "study_dir": str(self.folder), "trials": len(records),
            "complete": len(records) - len(failed), "metric": config.sweep.metric, "rows": rows,
            "failed": {name_of(record.point): record.failure for record in failed},
            "best": best and {"group": best.group, "mean": mean_of(best, config.sweep.metric),
                              "seeds": len(best.seeds)},
        }
        if rows:
            summary |= {name: str(path) for name, path in write_report(config, rows, self.folder).items()}
        return summary


class _TrialReporter(Silent):
    """Notes the run folder of a trial as soon as it has one, so that an interrupted trial can go on from there."""

    def __init__(self, trial: Trial, watcher: Watcher):
        self._trial, self._watcher = trial, watcher

    def started(self, plan: Plan, run_dir: Path, step: int) -> None:
        self._trial.set_user_attr("run", run_dir.name)

    def note(self, text: str) -> None:
        self._watcher.note(text)


def _folder(config: Config) -> Path:
    """The study's folder, made where it is missing; `ConfigError` where something else lies there."""
    folder = Path(config.tracking.runs) / plain(config.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = {entry.name for entry in folder.iterdir()} - {"lock"}
    except OSError as error:
        raise ConfigError(f"tracking.runs: {folder} cannot be written: {error.strerror}") from None
    if others and JOURNAL not in others:
        raise ConfigError(f"name: {folder} exists and is no study; give this one another name (name=...)")
    return folder
