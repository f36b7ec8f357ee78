"""What a report is about: the finished runs that were asked for, and the series of each.

Series come from the run folder if it lies here, which costs no request and has the time of every point; else from
MLflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean

from unlocked.comparing.finished import FinishedRun, finished_runs, named
from unlocked.comparing.question import Question
from unlocked.comparing.rows import Row, Section, sections_of
from unlocked.comparing.store import addressed
from unlocked.errors import ConfigError
from unlocked.metrics import by_module
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.spool import records

Series = dict[str, list[tuple[int, float, float]]]  # metric -> (step, seconds since the run began, value)


@dataclass
class Member:
    """One run of a report."""

    run: FinishedRun
    folder: Path | None  # where its files lie, if here
    read: Callable[[FinishedRun], Series] = field(repr=False)

    @cached_property
    def series(self) -> Series:
        found = of_folder(self.folder) if self.folder is not None else {}
        return found or self.read(self.run)


@dataclass
class Group:
    """A row of the table with its runs, one for each seed."""

    row: Row
    members: dict[str, Member]  # by seed
    scheme: str

    def modules(self, prefix: str) -> list[int]:
        found = {k for member in self.members.values() for k in by_module(member.series, prefix)}
        return sorted(found)

    def curves(self, metric: str, seconds: bool = False) -> list[list[tuple[float, float]]]:
        """For each seed that has it, over steps, or over seconds of training."""
        return [[(clock if seconds else step, value) for step, clock, value in each] for each in self._series(metric)]

    def curves_of_one_clock(self, metric: str) -> list[list[tuple[float, float]]]:
        """For each seed over seconds, which are those of the step, as a mean over seeds: if one seed was much slower,
        their own hardly overlap."""
        clocks: dict[int, list[float]] = {}
        for each in self._series(metric):
            for step, clock, _ in each:
                clocks.setdefault(step, []).append(clock)
        many = max(map(len, clocks.values()), default=0)
        return [
            [(fmean(clocks[step]), value) for step, _, value in each if len(clocks[step]) == many]
            for each in self._series(metric)
        ]

    def _series(self, metric: str) -> list[list[tuple[int, float, float]]]:
        return [member.series[metric] for member in self.members.values() if member.series.get(metric)]


@dataclass
class Gathered:
    """The runs of one data set and task."""

    section: Section
    groups: list[Group]
    runs: list[FinishedRun]
    monitor: str  # the metric that the task follows


def gather(
    source: str | Path,
    names: Sequence[str] = (),
    experiment: str | None = None,
    conditions: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    runs_root: Path = Path("runs"),
) -> list[Gathered]:
    """The runs by data set and task.

    Args:
        names: of experiments, studies, presets, configurations or run folders, with `*` and `?`; none: the experiment
            of the latest run.
        experiment: only of this one.

    Raises ConfigError if no finished run matches.
    """
    known = addressed(source)
    ids, names = known.experiments(), [Path(name).name if "*" not in name else name for name in names]
    runs = finished_runs(source, experiment)
    if not runs:
        raise ConfigError(f"report: no finished run in {known.shown}")
    if not names and experiment is None:
        latest = max(runs, key=lambda run: run.started).experiment
        runs = [run for run in runs if run.experiment == latest]
    of_experiments = {ids[name] for name in names if name in ids}
    others = [name for name in names if name not in ids]
    if names:
        named_ids = {run.id for run in named(runs, others)} if others else set()
        runs = [run for run in runs if run.experiment in of_experiments or run.id in named_ids]
    alone = [run for run in runs if not run.is_study and not run.is_trial]
    chosen = alone or [run for run in runs if not run.is_study]
    if not chosen:
        near = ", ".join(sorted(ids)) or "none"
        raise ConfigError(f"report: no finished run matches {' '.join(names)} (experiments: {near})")
    found = []
    for section in sections_of(chosen, Question(metrics=metrics, trials=True, conditions=conditions)):
        found.append(_gathered(section, chosen, known.series, runs_root))
    if not found:
        raise ConfigError("report: no finished run matches; its --where may fit none")
    return found


def _gathered(
    section: Section, runs: Sequence[FinishedRun], read: Callable[[FinishedRun], Series], runs_root: Path
) -> Gathered:
    groups = []
    for row in section.rows:
        members: dict[str, Member] = {}
        for run in sorted(runs, key=lambda run: run.started):
            if run.hash == row.hash and run.seed in row.seeds:
                members[run.seed] = Member(run, _here(runs_root, run.name), read)
        scheme = next((member.run.word("scheme") for member in members.values()), "")
        groups.append(Group(row, members, scheme))
    of_section = [member.run for group in groups for member in group.members.values()]
    return Gathered(section, groups, of_section, section.metrics[0] if section.metrics else "test/loss")


def _here(runs_root: Path, name: str) -> Path | None:
    """A run's folder, if it lies here; a store of somebody else may have any names, and none leads elsewhere."""
    with suppress(OSError):  # longer than a file's name can be
        if "/" not in name and name not in ("", ".", "..") and (runs_root / name).is_dir():
            return runs_root / name
    return None


def of_folder(run_dir: Path) -> Series:
    """From a run's records; time in which it was stopped between two starts does not count."""
    series: Series = {}
    begun: float | None = None
    before = 0.0  # seconds of earlier starts
    last = 0.0
    for record in records(TrackingFolder(run_dir).spool):
        if record["t"] == "start":
            before, begun = last, record["time"]
        elif record["t"] == "metrics" and begun is not None:
            last = before + max(0.0, (record["time"] - begun) / 1000)
            for key, value in record["values"].items():
                series.setdefault(key, []).append((int(record["step"]), last, float(value)))
    return series
