"""The record of a study in Optuna's storage, written so that a kill at any moment resumes.

    runs/<study>/study.journal   every trial with its parameters, its state, and its runs' summaries or its failure

A trial is waiting, running, complete, pruned or failed. One whose process died is found running when the study is
opened again; it goes back into the queue under its own number, and its run folders are known, so that it goes on from
its last checkpoint. The journal is a file because several processes that open a fresh SQLite database for Optuna
collide; `sweep.storage` names a database for those who want one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlocked.config import Config, load_config, to_dict
from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.metrics import higher_is_better
from unlocked.schema.renamed import NOW, present, unsaid
from unlocked.security import redact, unmask
from unlocked.studies.moved import ROOT, refuse_other_examples
from unlocked.studies.search import make_pruner, make_sampler
from unlocked.studies.space import Point, Space
from unlocked.tracking import flatten
from unlocked.tracking.identity import ABSENT_AT
from unlocked.tracking.spool import cut_torn_line

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "study.journal"
# what a command may change of a study that goes on
_MAY_CHANGE = (
    "tracking.",
    "sweep.plot.",
    "sweep.trials",
    "sweep.hours",
    "sweep.concurrent",
    "sweep.resources.",
    "sweep.retries",
    "sweep.enqueue",
    "sweep.refused",
    "sweep.storage",
    "parallel.address",
    "parallel.timeout",
    "parallel.max_failures",
)


@dataclass(frozen=True)
class Record:
    """A finished trial: `summaries` are those of its runs, one per seed; `failure` one line if it has none."""

    number: int
    point: Point
    runs: list[str]  # the names of its run folders
    summaries: list[dict[str, Any]]
    failure: str | None
    pruned: int | None  # the epoch at which it was ended early
    values: list[float] | None  # of the metrics; of a pruned trial the last one that it reported
    feasible: bool
    seconds: float


class Study:
    """The trials of one study, told and asked for through Optuna. One process at a time: hold the folder's lock."""

    def __init__(self, folder: Path, config: Config, space: Space, writes: bool = True):
        """Opens the study of a folder, or starts it there; `ConfigError` if it was started otherwise.

        `writes=False` only reads: nothing is started, and what runs elsewhere is left as it is.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._config, self._states = space, config, optuna.trial.TrialState
        self._metrics = config.sweep.metrics()
        if writes:
            _refuse_another_storage(folder, config)
        self._storage = _storage(folder, config, writes)
        if not writes:
            self._study = optuna.load_study(study_name=folder.name, storage=self._storage)
            return
        self._study = optuna.create_study(
            study_name=folder.name,
            storage=self._storage,
            load_if_exists=True,
            directions=directions_of(config),
            sampler=make_sampler(config, 0),
            pruner=make_pruner(config),
        )
        if config.sweep.storage is not None:  # the lock is the folder's, and several folders may share a database
            self._keep_to(folder.absolute())
        if "config" in self._study.user_attrs:
            self._go_on(folder, self._study.user_attrs["config"], _settled(config))
        else:
            self._study.set_user_attr("config", _settled(config))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "experimental", it says
                self._study.set_metric_names(self._metrics)
        for trial in self.under_way():  # of a process that is gone
            self.wait_again(trial)

    def _go_on(self, folder: Path, stored: dict[str, str], given: dict[str, str]) -> None:
        """Refuses another study; one of an earlier version gets the present names of its keys, and one whose data
        folder moved its new place."""
        before = stored.get(ROOT, "null")
        if before != given.get(ROOT, "null"):
            refuse_other_examples(folder, self._space, self.trials(), before)
            stored = stored | {ROOT: given.get(ROOT, "null")}
            self._study.set_user_attr("config", stored)
        if not any(key in NOW for key in stored) or not (folder / "study.yaml").exists():
            _refuse_another(folder, stored, given)
            return
        _refuse_another(folder, _settled(stored_config(folder)) | {ROOT: given.get(ROOT, "null")}, given)
        for trial in self.trials(self._states.WAITING, self._states.RUNNING):
            point = trial.params | trial.system_attrs.get("fixed_params", {})
            if present(point) != point:
                self._storage.set_trial_system_attr(trial._trial_id, "fixed_params", present(point))
        self._study.set_user_attr("config", given)

    @property
    def optuna(self) -> Any:
        """Optuna's own study, for its plots."""
        return self._study

    def enqueue(self, points: Sequence[Point], retry_failed: bool = False) -> None:
        """Queues the points that no trial has yet, in their order; with `retry_failed` also those that only failed."""
        if retry_failed:
            for record in list(self.records()):
                if record.failure is not None:
                    self.retry(record.number, record.point)
        known = [_point(trial) for trial in self.trials()]
        for point in points:
            if point not in known:
                self._study.enqueue_trial(point, user_attrs={"point": point})
                known.append(point)

    def retry(self, number: int, point: Point, retries: int = 0, runs: Mapping[str, str] | None = None) -> None:
        """Queues the point of a failed trial, which then no longer counts; with `runs`, to go on with those."""
        self._study.enqueue_trial(
            point, user_attrs={"point": point, "retry_of": number, "retries": retries, "runs": dict(runs or {})}
        )

    def ask(self) -> tuple[Trial, Point]:
        """The next trial of the queue, or if it is empty one that the sampler chooses; marked as running."""
        waiting = self.trials(self._states.WAITING)
        self._study.sampler = make_sampler(self._config, waiting[0].number if waiting else len(self.trials()))
        trial = self._study.ask()
        return trial, self._space.suggest(lambda dimension: dimension.suggest(trial))

    def complete(self, trial: Trial, summaries: Sequence[Mapping[str, Any]]) -> tuple[list[float] | None, str | None]:
        """Records the summaries of a trial's runs, and the means of its metrics; returns these, or why it failed.

        Raises `ConfigError` if no trial has reported such a metric yet: it may be one that none can.
        """
        bounds = self._config.sweep.constraints
        means = {metric: _mean(summaries, metric) for metric in [*self._metrics, *bounds]}
        for metric, mean in means.items():
            if all(metric not in summary["metrics"] for summary in summaries):
                failure = f"the run reports no {metric}"
                if not self._was_reported(metric):
                    self.fail(trial, failure)
                    raise ConfigError(
                        f"sweep.{'metric' if metric in self._metrics else 'constraints'}: {failure}; it "
                        f"reports {', '.join(sorted(summaries[0]['metrics']))}"
                    )
                return None, failure
            if not math.isfinite(mean):
                return None, f"the run reports no finite {metric}"
        for metric, bound in bounds.items():
            if "max" in bound:
                trial.set_constraint(f"{metric} max", means[metric] - bound["max"])
            if "min" in bound:
                trial.set_constraint(f"{metric} min", bound["min"] - means[metric])
        trial.set_user_attr("summaries", [dict(summary) for summary in summaries])
        values = [means[metric] for metric in self._metrics]
        self._study.tell(trial, values)
        return values, None

    def should_prune(self, trial: Trial, epoch: int, value: float) -> bool:
        """Notes what a trial reports after an epoch; whether it is not worth its time."""
        trial.report(value, epoch)
        return trial.should_prune()

    def prune(self, trial: Trial, epoch: int) -> None:
        trial.set_user_attr("pruned", epoch)
        self._study.tell(trial, state=self._states.PRUNED)

    def fail(self, trial: Trial, message: str) -> None:
        trial.set_user_attr("failure", message)
        self._study.tell(trial, state=self._states.FAIL)

    def wait_again(self, trial: Trial | FrozenTrial) -> None:
        """Back into the queue: it was interrupted."""
        self._storage.set_trial_state_values(trial._trial_id, self._states.WAITING)

    def trials(self, *states: Any) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def waiting(self) -> int:
        return len(self.trials(self._states.WAITING))

    def under_way(self) -> list[FrozenTrial]:
        return self.trials(self._states.RUNNING)

    def finished(self) -> int:
        """How many trials have ended, failures that were tried again included: it only grows."""
        return sum(trial.state.is_finished() for trial in self.trials())

    def records(self) -> Iterator[Record]:
        """The finished trials in the order of their numbers; a failure that was tried again is left out."""
        trials = self.trials()
        again = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in trials:
            if trial.state.is_finished() and trial.number not in again:
                yield _record(trial)

    def record(self, number: int) -> Record:
        """Of a finished trial."""
        return _record(self.trials()[number])

    def best(self) -> list[int]:
        """Numbers of the best trial, or of those that no other is better than in every metric; feasible ones."""
        if len(self._metrics) > 1:
            return [trial.number for trial in self._study.best_trials]
        try:
            return [self._study.best_trial.number]
        except ValueError:  # none is complete, or none is feasible
            return []

    def _was_reported(self, metric: str) -> bool:
        return any(
            metric in summary["metrics"]
            for trial in self.trials(self._states.COMPLETE)
            for summary in trial.user_attrs["summaries"]
        )

    def _keep_to(self, folder: Path) -> None:
        """Refuses the study of another folder; one that is gone was moved here, where this one held its study."""
        stored = self._study.user_attrs.get("folder", str(folder))
        if stored != str(folder) and (Path(stored).exists() or not known_study(folder)):
            raise ConfigError(
                f"name: the study {folder.name} of this database lies in {stored}; go on there "
                f"(tracking.runs), move the runs folder as a whole, or give this one another name "
                f"(name=...)"
            )
        self._study.set_user_attr("folder", str(folder))


def _record(trial: FrozenTrial) -> Record:
    attrs, runs = trial.user_attrs, trial.user_attrs.get("runs", {})
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
    pruned = attrs.get("pruned") if trial.state.name == "PRUNED" else None
    values = trial.values if pruned is None else None if last is None else [last]
    return Record(
        trial.number,
        present(trial.params) or _point(trial),
        [runs[seed] for seed in sorted(runs, key=int)],
        attrs.get("summaries", []),
        attrs.get("failure", "unknown") if trial.state.name == "FAIL" else None,
        pruned,
        values,
        all(value <= 0 for value in trial.constraints.values()),
        seconds,
    )


def directions_of(config: Config) -> list[Literal["minimize", "maximize"]]:
    """Of every metric of the study."""
    found: list[Literal["minimize", "maximize"]] = []
    for metric, direction in zip(config.sweep.metrics(), config.sweep.directions(), strict=True):
        down = not higher_is_better(metric) if direction == "auto" else direction == "minimize"
        found.append("minimize" if down else "maximize")
    return found


def stored_config(folder: Path) -> Config:
    """The study's own, of this version or an earlier one."""
    with unsaid():
        return load_config(folder / "study.yaml")


def known_study(folder: Path) -> bool:
    return (folder / JOURNAL).exists() or (folder / "study.yaml").exists()


def _storage(folder: Path, config: Config, writes: bool) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage

    from unlocked.studies.journal import CheckedJournal

    if config.sweep.storage is not None:
        whole = unmask("sweep.storage", config.sweep.storage)
        try:
            return RDBStorage(whole)
        except Exception as error:  # of SQLAlchemy, of a driver, of the server
            raise ConfigError(
                f"sweep.storage: {redact(config.sweep.storage)} cannot be opened: {redact(reason(error))}"
            ) from None
    path = (folder / JOURNAL).absolute()  # Optuna's lock is a link to it, and must not dangle
    if writes:
        cut_torn_line(path)
        path.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)  # of a process that was killed: the lock is ours
    elif not path.exists():
        raise UnlockedError(f"{folder} holds no {JOURNAL}")
    return JournalStorage(CheckedJournal(str(path)))


def _mean(summaries: Sequence[Mapping[str, Any]], metric: str) -> float:
    return math.fsum(summary["metrics"].get(metric, math.nan) for summary in summaries) / len(summaries)


def _point(trial: FrozenTrial) -> Point:
    return present(trial.user_attrs.get("point", trial.params))


def _refuse_another_storage(folder: Path, config: Config) -> None:
    """A record that lies elsewhere would be begun anew."""
    if not (folder / "study.yaml").exists():
        return
    stored, given = (
        "null" if storage is None else redact(storage)
        for storage in (stored_config(folder).sweep.storage, config.sweep.storage)
    )
    if stored != given:  # but for credentials, which may change
        raise ConfigError(
            f"sweep.storage: the study {folder} was started with {stored}, not {given}; give this one "
            f"another name (name=...)"
        )


def _settled(config: Config) -> dict[str, str]:
    """The keys that must stay as they are while a study goes on."""
    return {key: value for key, value in flatten(to_dict(config)).items() if not key.startswith(_MAY_CHANGE)}


def _refuse_another(folder: Path, stored: dict[str, str], given: dict[str, str]) -> None:
    for key in [*stored, *(key for key in given if key not in stored)]:
        if stored.get(key, ABSENT_AT.get(key)) != given.get(key):  # a study may be older than a key
            raise ConfigError(
                f"name: the study {folder} was started with {key}={stored.get(key, 'unset')}, not "
                f"{given.get(key, 'unset')}; give this one another name (name=...)"
            )
