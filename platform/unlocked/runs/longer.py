"""A run trained for more epochs: a new run that begins where the other one stands, with its history.

    unlocked train --resume runs/one train.epochs=40

The old run stays as it is: what it was measured to be after its own epochs remains true. The new one has the numbers of
a run of 40 epochs from the start, unless its past depended on its length: then a tag keeps the two apart.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlocked.config import Config, from_tree, parse_overrides, with_values
from unlocked.config.schemes import flatten
from unlocked.data.new.reading import FILE as INPUTS
from unlocked.engines import engine_of
from unlocked.errors import ConfigError
from unlocked.files import read_json, write_json
from unlocked.optim import depends_on_length
from unlocked.runs.begun import HANDED_ON, beginnings, refuse_edited
from unlocked.runs.checkpoint import Checkpoints
from unlocked.runs.folder import FACTS, TOKENS, RunFolder, one_line_when_full, read_config
from unlocked.runs.needs import keep_needs
from unlocked.tracking import Recorder
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.spool import records

KEY, REPLICAS = "train.epochs", "parallel.replicas"


def with_more_epochs(config: Config, words: Sequence[str], run: str) -> Config:
    """The configuration of a run with what is given beside --resume. Raises `ConfigError`, one line, for anything but
    more epochs, and another number of replicas if the engine lets a run go on with one."""
    given = flatten(parse_overrides(words))
    able = [KEY, REPLICAS] if engine_of(config.parallel).resizes else [KEY]
    other = next((key for key in given if key not in able), None)
    if other is not None:
        raise ConfigError(
            f"--resume: {other} would make {run} another run; only {' and '.join(able)} may change (what differs in "
            "more is a run of its own: unlocked train CONFIG)"
        )
    if REPLICAS in given:
        config = with_values(config, {REPLICAS: given[REPLICAS]}, "--resume")
    if config.train.steps is not None and KEY in given:
        raise ConfigError(f"{KEY}: {run} is a run of train.steps={config.train.steps}, which no epochs make longer")
    epochs = given.get(KEY, config.train.epochs)
    if isinstance(epochs, bool) or not isinstance(epochs, int):
        raise ConfigError(f"{KEY}: must be a whole number, got {epochs!r}")
    if epochs < config.train.epochs:
        raise ConfigError(
            f"{KEY}: {epochs} is fewer than the {config.train.epochs} of {run}; a run can only be made longer"
        )
    return replace(config, train=replace(config.train, epochs=epochs))


def lengthen(run_dir: Path, words: Sequence[str], imports: Sequence[str] = ()) -> tuple[Path, str | None]:
    """The folder of a new run that goes on from the last checkpoint of another one, to be resumed, and a line on it;
    the same folder and None if nothing was asked for that it does not have.

    Raises `ConfigError` for anything but more epochs (of some engines other replicas, too), and
    for a run that has stopped early or has no checkpoint.
    """
    before = from_tree(read_config(run_dir))
    config = with_more_epochs(before, words, str(run_dir))
    if config == before:
        return run_dir, None
    source, _ = RunFolder.open(run_dir)  # nobody trains it meanwhile
    try:
        refuse_edited(run_dir, before)
        _refuse_without_a_future(run_dir, config)
        Checkpoints(run_dir).refuse_damaged()
        folder = RunFolder.create(config)
        try:
            with one_line_when_full(folder.path):
                tag, why = _depends_on_length(before)
                if (now := config.parallel.replicas) != (then := before.parallel.replicas):
                    tag, why = f"replicas {then} then {now}", f"its replicas were {then} and are {now} from here on"
                same = {KEY: str(config.train.epochs)} | ({REPLICAS: str(now)} if now != then else {})
                begun = [each | {"params": each["params"] | same} for each in beginnings(run_dir)]
                write_json(
                    folder.path / HANDED_ON,
                    {"run": run_dir.name, "epochs": before.train.epochs, "differs": tag, "begun": begun},
                )
                keep_needs(folder.path, imports)
                _copy(run_dir, folder.path)
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        finally:
            folder.release()
    finally:
        source.release()
    note = f"a new run of {config.train.epochs} epochs that goes on from {run_dir}, which stays as it is"
    return folder.path, f"{note}; not the numbers of an unbroken one: {why}" if why else note


def lengthened_config(run_dir: Path, words: Sequence[str]) -> Config:
    """That of the run that `lengthen` would make; raises as it does, and writes and holds nothing."""
    before = from_tree(read_config(run_dir))
    config = with_more_epochs(before, words, str(run_dir))
    if config != before:
        _refuse_without_a_future(run_dir, config)
    return config


def _refuse_without_a_future(run_dir: Path, config: Config) -> None:
    last = Checkpoints(run_dir).last()
    if last is None:
        raise ConfigError(f"--resume: {run_dir} has no checkpoint yet; train a run of {config.train.epochs} epochs")
    progress = read_json(last / "progress.json")
    if progress.get("stopped_early"):
        why = progress.get("stopped_because") or "train.patience"
        raise ConfigError(f"{KEY}: {run_dir} stopped early ({why}), and would again at the same step")


def lengthened_tags(run_dir: Path) -> dict[str, str]:
    """`continues`, the run that this one goes on from; `lengthened`, which sets it apart from unbroken ones."""
    value = read_json(run_dir / HANDED_ON)
    if not value:
        return {}
    tags = {"continues": value.get("run"), "lengthened": value.get("differs")}
    return {name: str(tag) for name, tag in tags.items() if tag}


def _depends_on_length(config: Config) -> tuple[str | None, str | None]:
    """Why the epochs of a run are not those of the beginning of a longer one: as a tag, and in words."""
    schedule, every, epochs = config.optimizer.schedule, config.train.evaluate_every, config.train.epochs
    if depends_on_length(config.optimizer):
        return (
            f"{schedule} over {epochs} epochs",
            f"optimizer.schedule={schedule} has brought the rate down over {epochs} epochs, and goes on with "
            "that of the longer run",
        )
    if config.data.validation and epochs % every:
        return (
            f"validated after {epochs} epochs",
            f"validated after epoch {epochs}, where the longer run is not (train.evaluate_every={every})",
        )
    return None, None


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source / "checkpoints", target / "checkpoints", ignore=shutil.ignore_patterns(".*"))
    for name in (TOKENS, INPUTS, "initial.safetensors"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    recorder = Recorder(target)
    for record in records(TrackingFolder(source).spool):
        if record["t"] == "metrics":
            recorder.metrics(record["step"], _of_training(record["values"]), record["time"])
    recorder.close()


def _of_training(values: dict[str, Any]) -> dict[str, float]:
    """Without the test split, which is measured once, at the end."""
    return {key: value for key, value in values.items() if not key.startswith("test/") and key not in FACTS}
