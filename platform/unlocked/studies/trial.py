"""One trial: the runs of one configuration over its seeds, each a full run in a folder of its own.

A `Job` is what a trial is told, an `Outcome` what it comes to, a `Judge` whom it reports to while it runs. Jobs and
outcomes travel between processes; where the trial runs is the business of `runners.py`.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from unlocked.config import Config
from unlocked.errors import RunInterrupted, RunPruned, UnlockedError, reason
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Silent
from unlocked.loop.train import resume, train
from unlocked.plan.plan import Plan
from unlocked.strict_json import numbers
from unlocked.studies.moved import move
from unlocked.tracking.captions import trial_name
from unlocked.tracking.keys import BEST_TAG, KIND_TAG, NAME_TAG, TRIAL
from unlocked.tracking.spawn import StudyTracking

HELD = 90.0  # seconds that a run folder may stay held: the workers of a killed driver take up to a minute to end


@dataclass(frozen=True)
class Job:
    """`runs`: the folders of a trial that was interrupted, by seed, to go on with."""

    number: int
    config: Config
    metric: str  # reported after every evaluation of the first seed
    runs: dict[str, str]
    imports: Sequence[str] = ()
    point: Mapping[str, str] = field(default_factory=dict)  # what the study has chosen, as text
    swept: Sequence[str] = ()  # the keys that it varies


@dataclass(frozen=True)
class Outcome:
    """The summaries of all runs; or why there are none."""

    summaries: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None  # one line
    detail: str = ""  # the traceback
    may_pass: bool = False  # the machine failed, not the trial: another attempt may succeed
    pruned: int | None = None  # the epoch
    interrupted: bool = False


class Judge(Protocol):
    """The driver of a study, as its trials know it; all calls come from the thread that waits for them."""

    def begun(self, number: int, seed: int, run: str) -> None: ...

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> bool:
        """Whether the trial is to end here, with a checkpoint; `value` is None if nothing was evaluated."""
        ...

    def note(self, number: int, text: str) -> None: ...


def run_trial(job: Job, judge: Judge, tracking: StudyTracking, stop: StopSignal | None = None) -> Outcome:
    """Runs a trial to its end. Never raises; KeyboardInterrupt and the like pass."""
    summaries: list[dict[str, Any]] = []
    seeds = range(job.config.seed, job.config.seed + job.config.sweep.repeats)
    reporter = _Reporter(job, judge)
    try:
        for seed in seeds:
            reporter.seed = seed
            config = replace(job.config, seed=seed, sweep=type(job.config.sweep)())
            summaries.append(_run(config, job, reporter, _Nested(tracking, job, seed), stop))
    except RunPruned as pruned:
        return Outcome(pruned=pruned.epoch)
    except RunInterrupted:
        return Outcome(interrupted=True)
    except Exception as error:
        failure = str(error) if isinstance(error, UnlockedError) else f"{type(error).__name__}: {reason(error)}"
        return Outcome(
            failure=failure,
            detail=f"{traceback.format_exc()}{getattr(error, 'detail', None) or ''}",
            may_pass=bool(getattr(error, "may_pass", False)),
        )
    return Outcome(summaries)


def _run(
    config: Config, job: Job, reporter: _Reporter, tracking: StudyTracking, stop: StopSignal | None
) -> dict[str, Any]:
    known = job.runs.get(str(config.seed))
    folder = Path(config.tracking.runs) / known if known else None
    if folder is None or not (folder / "config.yaml").exists():
        return train(config, imports=job.imports, reporter=reporter, study=tracking, stop=stop)
    done = _summary(folder)
    if done is not None:
        return done
    move(folder, config)
    return resume(
        folder,
        imports=job.imports,
        reporter=reporter,
        study=tracking,
        stop=stop,
        patience=HELD,
        addresses=config.tracking,
    )


class _Nested:
    """The study's tracking for one run of a trial: its number, and a name that says what was chosen."""

    def __init__(self, tracking: StudyTracking, job: Job, seed: int):
        several = job.config.sweep.repeats > 1 or "seed" in job.point
        name = trial_name(job.number, job.config.scheme.name, job.point, str(seed) if several else None)
        self.tags = {**tracking.tags, KIND_TAG: TRIAL, "trial": str(job.number), BEST_TAG: "no", NAME_TAG: name}
        self.swept, self.write = job.swept, tracking.write


def _summary(folder: Path) -> dict[str, Any] | None:
    """Of a run that had ended when its trial was interrupted."""
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return summary | {"metrics": numbers(summary["metrics"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # gone, or no summary of ours
        return None


class _Reporter(Silent):
    """Tells the judge of a run's folder as soon as it has one, and of every evaluation of the first seed."""

    seed = 0

    def __init__(self, job: Job, judge: Judge):
        self._job, self._judge = job, judge

    def started(self, plan: Plan, run_dir: Path, step: int) -> None:
        self._judge.begun(self._job.number, self.seed, run_dir.name)

    def epoch(self, epoch: int, values: dict[str, float]) -> bool:
        config = self._job.config
        if self.seed != config.seed:
            return False
        evaluated = epoch % config.train.evaluate_every == 0 or epoch == config.train.epochs
        value = values.get(self._job.metric, math.nan) if evaluated else math.nan
        return self._judge.epoch(self._job.number, epoch, config.train.epochs, value if math.isfinite(value) else None)

    def note(self, text: str) -> None:
        self._judge.note(self._job.number, text)
