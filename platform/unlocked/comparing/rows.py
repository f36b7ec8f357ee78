"""Finished runs side by side: mean and spread over seeds of what each group reached, from MLflow.

Runs are seeds of one group only if everything that can change a number is equal but the seed (`identity`). What differs
between groups becomes columns. Data sets and tasks have tables of their own, speeds a column for every place.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlocked.comparing.columns import differing, place_names, shown_value
from unlocked.comparing.finished import FinishedRun, finished_runs, key_of, named, where
from unlocked.comparing.question import ALL, Question
from unlocked.comparing.statistics import Summary, paired, summarise
from unlocked.errors import ConfigError
from unlocked.metrics import AT, higher_is_better, is_timing
from unlocked.tracking.captions import ABSENT, is_named
from unlocked.tracking.identity import CONTROL, TAG_OF

_SECTION = ("dataset", "task")
_PLACES = 3  # that have columns of their own


@dataclass
class Row:
    """One group of runs: `group` is what they share, one run per seed counts."""

    group: dict[str, str]
    seeds: dict[str, dict[str, float]] = field(default_factory=dict)  # seed -> metric -> value
    hash: str = ""  # of its configuration
    superseded: int = 0
    control: bool = False  # where no key named scheme says so
    feasible: bool = True  # within the constraints of its study
    differences: dict[str, Summary] = field(default_factory=dict)  # metric -> to the baseline, paired by seed

    @property
    def label(self) -> str:
        """The values of the group; of numbers and of single keys with their name: a bare 2 would say nothing."""
        return " ".join(
            f"{key} {value}" if is_named(key) else value for key, value in self.group.items() if value != ABSENT
        )

    @property
    def is_control(self) -> bool:
        return self.control or self.group.get("scheme") == CONTROL

    def by_seed(self, metric: str) -> dict[str, float]:
        """The metric of each seed that has it."""
        found = {seed: metrics.get(metric, math.nan) for seed, metrics in self.seeds.items()}
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def values(self, metric: str) -> list[float]:
        return list(self.by_seed(metric).values())

    def summary(self, metric: str) -> Summary | None:
        return summarise(self.values(metric))


@dataclass
class Section:
    """The runs of one data set and task: rows, the metrics that are shown of them, and what has to be said."""

    title: str
    metrics: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def compare(source: str | Path, experiment: str | None = None, **asked: Any) -> list[Row]:
    """The rows of all `sections`; of several, with their data set and task as a key. `asked`: as of `Question`."""
    return [row for section in sections(source, experiment, Question(**asked)) for row in section.rows]


def sections(source: str | Path, experiment: str | None = None, asked: Question = ALL) -> list[Section]:
    """Finished runs by data set and task; rows with the best `metrics[0]` first, the frozen control last unless `sort`.

    Args:
        source: a tracking address, or the runs root with its `mlflow.db`.
        experiment: its name; None takes all.

    Two runs of one group and seed: the later counts, the earlier is counted in `Row.superseded`; only its speed stays
    where it was another place. Raises ConfigError for an unknown experiment, key or metric, UnlockedError when there is
    no database.
    """
    return sections_of(finished_runs(source, experiment), asked)


def sections_of(runs: Sequence[FinishedRun], asked: Question = ALL) -> list[Section]:
    """As `sections`, of runs that were read before."""
    metrics, sort, baseline = asked.metrics, asked.sort, asked.baseline
    runs = [run for run in runs if not run.is_study and (asked.trials or not run.is_trial)]
    runs = where(named(runs, asked.names) if asked.names else runs, asked.conditions)
    lead = [TAG_OF.get(known, known) for known in (key_of(runs, key, "group-by") for key in asked.group_by)]
    by_section: dict[tuple[str, ...], list[FinishedRun]] = {}
    for run in runs:
        by_section.setdefault(tuple(run.word(key) for key in _SECTION), []).append(run)
    found: list[Section] = []
    titles: list[tuple[str, ...]] = []
    for key in sorted(by_section):
        of_section = by_section[key]
        wanted = [_resolved(of_section, metric) for metric in metrics] if metrics else _usual(of_section)
        known = list(dict.fromkeys(metric for metric in wanted if metric is not None))
        rows, notes, shown = _rows(of_section, lead, known)
        if rows:
            found.append(Section(", ".join(filter(None, key)), shown, rows, notes))
            titles.append(key)
    if metrics and runs:
        _refuse_unknown(runs, metrics)
    for key, section in zip(titles, found, strict=True):
        if len(found) > 1:
            for row in section.rows:
                row.group = dict(zip(_SECTION, key, strict=True)) | row.group
        if baseline is not None:
            _add_differences(section, baseline, [row for other in found for row in other.rows])
        elsewhere = sort is not None and not _columns(section, sort) and any(_columns(other, sort) for other in found)
        _sort(section, runs, None if elsewhere else sort)  # a metric that only others have: the usual order
    return found


def _rows(
    runs: Sequence[FinishedRun], lead: Sequence[str], metrics: Sequence[str]
) -> tuple[list[Row], list[str], list[str]]:
    """The groups, what has to be said of them, and the metrics with a place for each timing."""
    measured = [run for run in runs if any(run.final(metric) is not None for metric in metrics)]
    places = place_names([run for run in measured if any(is_timing(metric) for metric in metrics)])
    keys = [*lead, *differing(measured, lead)]
    rows: dict[tuple[str, ...], Row] = {}
    hashes: dict[tuple[str, ...], str] = {}
    apart = 0.0
    for run in sorted(measured, key=lambda run: run.started):
        group = {key: shown_value(run, key) for key in keys}
        own = (*group.values(), run.hash)
        row = rows.setdefault(own, Row(group, hash=run.hash))
        hashes[own] = run.hash
        values = _values(run, metrics, places)
        before = row.seeds.get(run.seed)
        if before is not None:
            row.superseded += 1
            apart = max(
                apart,
                *(
                    abs(values[key] - before[key])
                    for key in values
                    if key in before and not is_timing(key) and math.isfinite(values[key] - before[key])
                ),
                0.0,
            )
            values = {key: value for key, value in before.items() if is_timing(key)} | values
        row.seeds[run.seed] = values
    alike = Counter(tuple(row.group.values()) for row in rows.values())
    for own, row in rows.items():
        if alike[tuple(row.group.values())] > 1:  # what differs is no tag or param
            row.group = row.group | {"config_hash": hashes[own][:8]}
    _complete(rows.values())
    shown, left_out = _with_places(metrics, measured, places)
    return list(rows.values()), _notes(rows.values(), measured, metrics, apart, places, left_out), shown


def _complete(rows: Iterable[Row]) -> None:
    """Every row has the keys of all."""
    keys = list(dict.fromkeys(key for row in rows for key in row.group))
    for row in rows:
        row.group = {key: row.group.get(key, ABSENT) for key in keys}


def _values(run: FinishedRun, metrics: Sequence[str], places: Mapping[tuple[str, ...], str]) -> dict[str, float]:
    found = {}
    for metric in metrics:
        value = run.final(metric)
        if value is not None:
            found[f"{metric}{AT}{places[run.place]}" if is_timing(metric) and len(places) > 1 else metric] = value
    return found


def _with_places(
    metrics: Sequence[str], runs: Sequence[FinishedRun], places: Mapping[tuple[str, ...], str]
) -> tuple[list[str], int]:
    """A timing as one metric for each of the places with the most runs; how many places are left out."""
    if len(places) < 2:
        return list(metrics), 0
    count = Counter(run.place for run in runs)
    kept = [places[place] for place, _ in count.most_common(_PLACES)]
    shown = [
        f"{metric}{AT}{name}" if name else metric
        for metric in metrics
        for name in (kept if is_timing(metric) else [""])
    ]
    return shown, len(count) - len(kept)


def _notes(
    rows: Iterable[Row],
    runs: Sequence[FinishedRun],
    metrics: Sequence[str],
    apart: float,
    places: Mapping[tuple[str, ...], str],
    left_out: int,
) -> list[str]:
    notes = []
    if superseded := sum(row.superseded for row in rows):
        notes.append(
            superseded_words(superseded) + (f"; their numbers differ by up to {apart:.3g}" if apart > 1e-9 else "")
        )
    lost = sum(not math.isfinite(value) for row in rows for values in row.seeds.values() for value in values.values())
    if lost:
        notes.append(f"{lost} {'value' if lost == 1 else 'values'} NaN or infinite: left out of mean and n")
    if len(places) > 1:
        notes.append(
            "speeds and waits are comparable only within one column: another machine or engine has its own"
            + (f" ({left_out} more left out: --where host=...)" if left_out else "")
        )
    old = sum("config_hash" not in run.tags for run in runs)
    if old:
        notes.append(
            f"{old} of {len(runs)} runs are older than config_hash: grouped by their params, not by the "
            f"examples that they saw"
        )
    return notes


def superseded_words(number: int) -> str:
    return f"{number} earlier {'run' if number == 1 else 'runs'} of a repeated seed superseded by the later"


def _usual(runs: Sequence[FinishedRun]) -> list[str | None]:
    """What the task of these runs follows, and how fast they were."""
    told = Counter(monitor for run in runs if (monitor := run.word("monitor")))
    monitor = told.most_common(1)[0][0] if told else _guessed({key for run in runs for key in run.metrics})
    return [f"test/{monitor}", f"best/val_{monitor}", "time/steps_per_second", "time/wait_fraction"]


def _guessed(known: set[str]) -> str:
    """The monitor of runs that do not say it: what the best checkpoint was chosen by, else by what is measured."""
    best = sorted(key.removeprefix("best/val_") for key in known if key.startswith("best/val_"))
    if best:
        return best[0]
    alone = ("rmse", "mse") if "test/perplexity" not in known else ("loss",)
    return next((name for name in (*alone, "accuracy") if f"test/{name}" in known), "loss")


def _resolved(runs: Sequence[FinishedRun], metric: str) -> str | None:
    names = (metric, f"test/{metric}", f"val/{metric}", f"train/{metric}")
    return next((name for name in names if any(run.final(name) is not None for run in runs)), None)


def _refuse_unknown(runs: Sequence[FinishedRun], metrics: Sequence[str]) -> None:
    from unlocked_models.contract.registry import unknown  # with which torch comes

    known = {re.sub(r"/module_\d+$", "", key) for run in runs for key in run.metrics}
    short = {re.sub(r"^(test|val|train)/", "", key) for key in known}
    for metric in metrics:
        if _resolved(runs, metric) is None:
            usual = known if "/" in metric else {key for key in short if not key.startswith("system/")}
            raise ConfigError(f"--metric: {unknown('metric', metric, sorted(usual))}")


def _add_differences(section: Section, baseline: str, rows: Sequence[Row]) -> None:
    known = sorted({row.group.get("scheme", ABSENT) for row in rows})
    if baseline not in known:
        from unlocked_models.contract.registry import unknown

        raise ConfigError(f"--baseline: {unknown('scheme', baseline, known)}")
    bases = [row for row in section.rows if row.group.get("scheme") == baseline]
    unclear = False
    for row in section.rows:
        if row in bases:
            continue
        closest = closest_to(row, bases)
        unclear |= len(closest) > 1
        for metric in section.metrics:
            if len(closest) == 1 and not is_timing(metric):
                difference = paired(row.by_seed(metric), closest[0].by_seed(metric))
                row.differences |= {metric: difference} if difference else {}
    if not bases:
        section.notes.append(f"no run under {baseline} to take differences to")
    if unclear:
        section.notes.append(f"no difference where several rows of {baseline} are as close: --where tells them apart")


def closest_to(row: Row, others: Sequence[Row]) -> list[Row]:
    """Those of the others that agree with a row in most of its keys."""
    likeness = [sum(row.group[key] == other.group[key] for key in row.group) for other in others]
    return [other for other, alike in zip(others, likeness, strict=True) if alike == max(likeness)]


def _sort(section: Section, runs: Sequence[FinishedRun], sort: str | None) -> None:
    section.rows.sort(key=lambda row: row.label)
    by = section.metrics[0] if sort is None else sort
    shown = _columns(section, by)
    if shown:
        sign = -1.0 if higher_is_better(shown[0]) else 1.0
        rank = {id(row): sign * found.mean if (found := row.summary(shown[0])) else math.inf for row in section.rows}
    else:
        key = _sort_key(section, runs, by)
        key = TAG_OF.get(key, key)
        order = sorted({row.group.get(key, ABSENT) for row in section.rows}, key=_as_ordered)
        rank = {id(row): float(order.index(row.group.get(key, ABSENT))) for row in section.rows}
    section.rows.sort(key=lambda row: (row.is_control and sort is None, rank[id(row)]))


def _sort_key(section: Section, runs: Sequence[FinishedRun], by: str) -> str:
    try:
        return key_of(runs, by, "--sort")
    except ConfigError as error:
        if _resolved(runs, by) is not None:
            raise ConfigError(f"--sort: {by} is not shown; add --metric {by}") from None
        raise ConfigError(f"{error}; metrics that are shown: {', '.join(section.metrics)}") from None


def _columns(section: Section, metric: str) -> list[str]:
    """What the section shows under this name of a metric."""
    return [shown for shown in section.metrics if metric in (shown, shown.partition(AT)[0], shown.rpartition("/")[2])]


def _as_ordered(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
