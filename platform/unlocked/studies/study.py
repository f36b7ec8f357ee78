"""The record of a study: Optuna's journal in the study's folder, written so that a kill at any moment resumes.

    runs/<study>/study.journal   every trial with its parameters, its state, and its run's summary or its failure

A trial is waiting, running, complete or failed. One whose process died is found running when the study is opened
again; it goes back into the queue under its own number, and its run folder is known, so that it goes on from its last
checkpoint. The journal is a file because several processes that open a fresh SQLite database for Optuna collide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlocked.config import Config, to_dict
from unlocked.errors import ConfigError
from unlocked.studies.space import Point, Space
from unlocked.tracking import flatten
from unlocked.tracking.spool import cut_torn_line

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "study.journal"
_MAY_CHANGE = ("tracking.", "sweep.plot.", "parallel.address", "parallel.timeout", "parallel.max_failures")


@dataclass(frozen=True)
class Record:
    """A finished trial: `summary` is that of its run, `failure` one line where it has none."""

    number: int
    point: Point
    run: str | None  # the name of its run folder
    summary: dict[str, Any] | None
    failure: str | None


class Study:
    """The trials of one study, told and asked for through Optuna. One process at a time: hold the folder's lock."""

    def __init__(self, folder: Path, config: Config, space: Space):
        """Opens the study of a folder, or starts it there; `ConfigError` where it was started otherwise."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = (folder / JOURNAL).absolute()  # Optuna's lock is a link to it, and must not dangle
        cut_torn_line(path)
        path.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)  # of a process that was killed: the lock is ours
        self._space, self._metric, self._states = space, config.sweep.metric, optuna.trial.TrialState
        self._storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(
            study_name=folder.name, storage=self._storage, load_if_exists=True, direction=direction_of(config),
            sampler=optuna.samplers.RandomSampler(seed=config.seed))  # of a grid every point is queued: never asked
        if "config" in self._study.user_attrs:
            _refuse_another(folder, self._study.user_attrs["config"], _settled(config))
        else:
            self._study.set_user_attr("config", _settled(config))
        for trial in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            self._storage.set_trial_state_values(trial._trial_id, self._states.WAITING)

    def enqueue(self, points: Sequence[Point], retry_failed: bool = False) -> None:
        """Queues the points that no trial has yet, in their order; with `retry_failed` also those that only failed."""
        known = [_point(trial) for trial in self._study.get_trials(deepcopy=False)
                 if not (retry_failed and trial.state == self._states.FAIL)]
        for point in points:
            if point not in known:
                self._study.enqueue_trial(point, user_attrs={"point": point})

    def ask(self) -> tuple[Trial, Point] | None:
        """The next trial of the queue, marked as running; None when the queue is empty."""
        if not self.waiting():
            return None
        trial = self._study.ask()
        return trial, self._space.suggest(
            lambda dimension: trial.suggest_categorical(dimension.name, list(dimension.choices)))

    def complete(self, trial: Trial, summary: Mapping[str, Any]) -> tuple[float | None, str | None]:
        """Records a run's summary, and its metric as the trial's value; returns that value, or why there is none."""
        value = summary["metrics"].get(self._metric, math.nan)
        if not math.isfinite(value):
            self.fail(trial, failure := f"the run reports no finite {self._metric}")
            return None, failure
        trial.set_user_attr("summary", dict(summary))
        self._study.tell(trial, value)
        return value, None

    def fail(self, trial: Trial, message: str) -> None:
        trial.set_user_attr("failure", message)
        self._study.tell(trial, state=self._states.FAIL)

    def waiting(self) -> int:
        return len(self._study.get_trials(deepcopy=False, states=(self._states.WAITING,)))

    def records(self) -> Iterator[Record]:
        """The finished trials in the order of their numbers; a failure that was tried again is left out."""
        trials = self._study.get_trials(deepcopy=False)
        for place, trial in enumerate(trials):
            attrs = trial.user_attrs
            if trial.state == self._states.COMPLETE:
                yield Record(trial.number, trial.params, attrs.get("run"), attrs["summary"], None)
            elif trial.state == self._states.FAIL and _point(trial) not in map(_point, trials[place + 1:]):
                yield Record(trial.number, trial.params, attrs.get("run"), None, attrs.get("failure", "unknown"))


def direction_of(config: Config) -> Literal["minimize", "maximize"]:
    direction, metric = config.sweep.direction, config.sweep.metric
    down = metric.endswith("loss") if direction == "auto" else direction == "minimize"
    return "minimize" if down else "maximize"


def _point(trial: FrozenTrial) -> Point:
    return trial.user_attrs.get("point", trial.params)


def _settled(config: Config) -> dict[str, str]:
    """The keys that must stay as they are while a study goes on."""
    flat = flatten(to_dict(config))
    return {key: value for key, value in flat.items() if not key.startswith(_MAY_CHANGE)}


def _refuse_another(folder: Path, stored: dict[str, str], given: dict[str, str]) -> None:
    for key in [*stored, *(key for key in given if key not in stored)]:
        if stored.get(key) != given.get(key):
            raise ConfigError(f"name: the study {folder} was started with {key}={stored.get(key, 'unset')}, not "
                              f"{given.get(key, 'unset')}; give this one another name (name=...)")
