"""How a study stands, read from its record: while it runs, from another process, or after it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unlocked.config import Config
from unlocked.errors import ConfigError
from unlocked.files import locked
from unlocked.schema.renamed import present
from unlocked.studies.report import summary_of
from unlocked.studies.search import is_grid
from unlocked.studies.space import Space, name_of
from unlocked.studies.study import Study, stored_config


@dataclass(frozen=True)
class Running:
    """A trial that was started and has not ended; `epoch` and `value` are of its last report to the pruner."""

    number: int
    words: str
    seconds: float
    epoch: int | None
    value: float | None


@dataclass(frozen=True)
class Status:
    config: Config
    summary: dict[str, Any]  # as that of `sweep`
    running: list[Running]
    waiting: int
    total: int | None
    held: bool  # a process is at it


def find_study(name: str, runs: Path) -> Path:
    """The folder of the study of this name under `runs`, or that folder itself; `ConfigError` if there is none."""
    folder = next((path for path in (Path(name), runs / name) if (path / "study.yaml").is_file()), None)
    if folder is None:
        known = sorted(path.parent.name for path in runs.glob("*/study.yaml"))
        raise ConfigError(
            f"there is no study {name} in {runs.absolute()} (known: {', '.join(known) or 'none'}); give "
            "its folder, or the folder that it lies in by --runs"
        )
    return folder


def status(name: str, runs: Path = Path("runs")) -> Status:
    """Of the study of this name under `runs`, or in a folder. Raises `ConfigError` if there is none."""
    folder = find_study(name, runs)
    config = stored_config(folder)
    space = Space(config)
    study = Study(folder, config, space, writes=False)
    running = []
    for trial in study.under_way():
        epoch = max(trial.intermediate_values, default=None)
        began = trial.datetime_start or datetime.now()
        running.append(
            Running(
                trial.number,
                name_of(present(trial.params)),
                (datetime.now() - began).total_seconds(),
                epoch,
                None if epoch is None else trial.intermediate_values[epoch],
            )
        )
    with locked(folder / "lock", timeout=0.0) as free:
        held = not free
    summary, waiting = summary_of(config, space, study, folder), study.waiting()
    total = summary["trials"] + len(running) + waiting if is_grid(config) else config.sweep.trials
    return Status(config, summary, running, waiting, total, held)
