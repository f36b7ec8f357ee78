"""A run from its configuration to its summary: `train` begins one, `resume` goes on with one.

plan it -> start tracking -> a supervisor gives the trainer one group of workers after the other -> summary
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from unlocked.blame import refuse_users_fault
from unlocked.config import Config, to_dict
from unlocked.data import DataSet
from unlocked.data.sets.handed import handed
from unlocked.engine.group import Group, WorkerFailed
from unlocked.errors import RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.handing import with_handed
from unlocked.loop.page import Noting, page_of
from unlocked.loop.pretraining import Pretrainer
from unlocked.loop.report import accelerators, data_facts, run_tags, shown_params
from unlocked.loop.reporter import Reporter, Silent
from unlocked.loop.stepper import Stepper
from unlocked.loop.summary import summarise
from unlocked.loop.supervisor import Supervisor
from unlocked.loop.trainer import Tested, Trainer
from unlocked.loop.transfer import initial_weights, plan_run
from unlocked.plan.make import make_plan
from unlocked.plan.plan import Plan, load_data
from unlocked.plan.pretraining import plan_pretraining
from unlocked.runs.begun import going_on, refuse_edited
from unlocked.runs.fit import refuse_misfit
from unlocked.runs.folder import RunFolder, check_tokens, how_to_go_on, keep_inputs, keep_tokens, one_line_when_full
from unlocked.runs.longer import lengthened_tags
from unlocked.runs.mirror import Mirror
from unlocked.runs.needs import bring, keep_needs
from unlocked.runs.result import Run
from unlocked.schema.keys import TrackingConfig
from unlocked.tracking import StudyTracking, Tracker, flatten, resolve_uri, sync_leftovers
from unlocked.tracking.keys import SETTING_TAG
from unlocked.tracking.surroundings import FOLDER as SURROUNDINGS
from unlocked.tracking.surroundings import keep_surroundings
from unlocked.tracking.uris import OFF

Result = TypeVar("Result")


def train(
    config: Config,
    *,
    imports: Sequence[str] = (),
    reporter: Reporter | None = None,
    started: float | None = None,
    study: StudyTracking | None = None,
    stop: StopSignal | None = None,
    data: Any = None,
) -> Run:
    """One run of a configuration, from its first step to its summary; of a `study` if it is a trial of one.

    `stop` is asked between segments whether to save and stop; without one Ctrl-C and SIGTERM are caught.
    `data`: in place of the configuration's, a torch `Dataset` or `DataLoader`, a Hugging Face `Dataset`, a mapping of
    them by split (`unlocked.data.from_dataset`), or a `RawData`.

    Returns the summary, a mapping: run folder, MLflow run id, metrics, steps per second, wait fractions, seconds; with
    `run.metrics`, `run.history()`, `run.figure(name)` and `run.model()` (`unlocked.runs.result.Run`).
    `reporter`: `unlocked.Progress()` shows how far it is, in a notebook too.
    Raises `ConfigError` or `DataError` before anything starts, `RunFailed` when it cannot go on, and
    `RunInterrupted` after Ctrl-C (`RunPruned` if the reporter ended it), with a checkpoint saved.

    >>> from unlocked import load_config
    >>> summary = train(load_config("quickstart", ["parallel.engine=inprocess", "train.epochs=1"]))  # doctest: +SKIP
    """
    if data is not None:
        with handed(data):
            return train(
                with_handed(config, data), imports=imports, reporter=reporter, started=started, study=study, stop=stop
            )
    started = started or time.time()
    reporter = reporter or Silent()
    reporter.doing(f"loading data: {config.data.name}")
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
        keep_inputs(folder.path, data)
    return _complete(_Run(plan, data, folder, imports, reporter, started, study, stop))


def resume(
    run_dir: str | Path,
    *,
    imports: Sequence[str] = (),
    reporter: Reporter | None = None,
    started: float | None = None,
    study: StudyTracking | None = None,
    stop: StopSignal | None = None,
    patience: float = 0.0,
    addresses: TrackingConfig | None = None,
    data: Any = None,
) -> Run:
    """Goes on with a run from its last checkpoint (from the start if it has none), to the same numbers.

    Its modules of the user's are imported as when it was begun, if this user signed for them; else they are to be given
    as `imports`. `patience`: seconds to wait while another process still trains it. `addresses`: with the
    passwords that a run folder does not keep; else they are taken from the environment. `data`: what `train` was given,
    again.
    """
    if data is not None:
        with handed(data):
            return resume(
                run_dir,
                imports=imports,
                reporter=reporter,
                started=started,
                study=study,
                stop=stop,
                patience=patience,
                addresses=addresses,
            )
    run_dir = Path(run_dir)  # a summary has it as text
    started = started or time.time()
    reporter = reporter or Silent()
    imports = bring(run_dir, imports)
    folder, config = RunFolder.open(run_dir, patience, addresses)
    reporter.doing(f"loading data: {config.data.name}")
    data = load_data(config)
    check_tokens(run_dir, data)
    plan = make_plan(config, data)
    refuse_misfit(run_dir, plan)
    refuse_edited(run_dir, plan.config)
    with one_line_when_full(run_dir):
        keep_inputs(run_dir, data)  # a run of an older version has none
    return _complete(_Run(plan, data, folder, imports, reporter, started, study, stop))


@dataclass(frozen=True)
class _Run:
    """A planned run in its folder, with whoever started it."""

    plan: Plan
    data: DataSet
    folder: RunFolder
    imports: Sequence[str]
    reporter: Reporter
    started: float
    study: StudyTracking | None
    stop: StopSignal | None  # None: signals are caught here


def _complete(run: _Run) -> Run:
    group_class = run.plan.make_engine().group_class(bool(run.plan.nets))
    if run.study is None:  # which has its own last words
        group_class.last_words(how_to_go_on(run.folder.path))
    try:
        with one_line_when_full(run.folder.path):
            return Run(_track(run, group_class))
    finally:
        if run.study is None:
            group_class.last_words("")


def _track(run: _Run, group_class: type[Group]) -> dict[str, Any]:
    """Trains and tells the tracking server how it ended; the summary is written last."""
    stop = run.stop or StopSignal()
    noting = Noting(run.reporter)
    run = replace(run, reporter=noting)
    tracker = _start_tracking(run)
    status: Any = "FAILED"
    summary: dict[str, Any] | None = None
    try:
        trainer = Trainer(run.plan, run.data, run.folder, tracker, run.reporter, stop, run.started)
        with contextlib.nullcontext() if run.stop is not None else stop:
            tested, restarts = _train(run, group_class, trainer, stop)
        run.reporter.doing("drawing figures")
        summary = summarise(trainer, tested, restarts)
        status = "FINISHED"
    except (RunInterrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        if run.plan.config.tracking.uri != OFF:
            run.reporter.doing("sending the last records to MLflow")
        page = None
        if summary is not None:
            page = page_of(run.plan.config, run.plan, run.folder.path, noting.notes, run.study is not None)
        run_id = tracker.close(status, summary and summary["metrics"], page=page)
        if tracker.unsent:
            run.reporter.note(tracker.unsent)
        run.folder.release()
    summary["mlflow_run_id"] = run_id
    summary["seconds"] = time.time() - run.started
    run.folder.write_summary(summary)
    trainer.push()
    return summary


def _start_tracking(run: _Run) -> Tracker:
    config, path = run.plan.config, run.folder.path
    if config.tracking.uri != OFF:
        run.reporter.doing("opening the store of MLflow")
    if run.study is None:  # which has asked already
        sync_leftovers(path.parent, config.tracking.uri, note=run.reporter.note)
    params = flatten(to_dict(config))
    tags = run_tags(run.plan, run.data, run.imports, lengthened_tags(path))
    tags = going_on(path, params, tags, run.reporter.note)
    tracker = Tracker.start(
        path,
        config.tracking.uri,
        config.tracking.experiment,
        params,
        tags,
        study=run.study,
        shown=shown_params(config, run.study.swept if run.study is not None else ()),
        data=data_facts(config, run.data, tags["data_digest"]),
    )
    tracker.setting = tags[SETTING_TAG]
    tracker.recorder.artifact(keep_surroundings(path, run.imports, accelerators()), SURROUNDINGS)
    return tracker


def _train(run: _Run, group_class: type[Group], trainer: Trainer, stop: StopSignal) -> tuple[Tested, int]:
    """What the run comes to, and how often its workers were started again."""
    restarts = 0

    def failure_in(error: BaseException) -> WorkerFailed | None:
        if not isinstance(error, Exception):
            if not stop.asked:
                refuse_users_fault(error)
            return None
        failure = group_class.failure_in(error)
        if failure is None:
            refuse_users_fault(error)
        return failure

    def supervised(stepper: Stepper, plan: Plan, attempt: Callable[[Group], Result]) -> Result:
        nonlocal restarts

        def begin(again: bool) -> Group:
            engine = plan.make_engine()
            if engine.on_workers:
                run.reporter.doing(f"starting {engine.place(plan.workers)}")
            return group_class(plan, run.data, run.imports, again)

        supervisor = Supervisor(
            plan.config.parallel.max_failures,
            stepper.checkpoints.last_step,
            how_to_go_on(run.folder.path),
            run.reporter.note,
        )
        done = supervisor.run(begin, attempt, failure_in)
        restarts += supervisor.failures
        return done

    def pretrain() -> dict[str, Tensor]:
        plan = plan_pretraining(run.plan.config, run.data)
        segment = Pretrainer(plan, run.data, run.folder, trainer.tracker, run.reporter, stop, run.started)
        return supervised(segment, plan, segment.run)

    if not trainer.checkpoints.all():
        trainer.begin_with = initial_weights(run.plan, run.data, run.folder.path, pretrain, run.reporter.note)
    Pretrainer.remove(run.folder.path)
    return supervised(trainer, run.plan, trainer.run), restarts
