"""A data folder that moved while a study was interrupted: its trials go on if the examples are the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unlocked.config import Config
from unlocked.config.load import from_tree
from unlocked.data.digest import digest
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.begun import beginnings
from unlocked.runs.folder import read_config, write_config
from unlocked.schema.renamed import present

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from unlocked.studies.space import Space

ROOT = "data.root"


def refuse_other_examples(folder: Path, space: Space, trials: Iterable[FrozenTrial], before: str) -> None:
    """Raises `ConfigError` if the examples in the new `data.root` are not those of the study's first run.

    A study of which no run is left has nothing that they could differ from.
    """
    for trial in trials:
        for seed, run in trial.user_attrs.get("runs", {}).items():
            begun = beginnings(Path(space.base.tracking.runs) / run)
            known = begun[0]["tags"].get("data_digest") if begun else None
            if known is None:
                continue
            point = present(trial.user_attrs.get("point", trial.params))
            config = replace(space.config(point), seed=int(seed))
            if (found := digest(load_data(config))) != known:
                raise ConfigError(
                    f"{ROOT}: the study {folder} was started with {before}, and {config.data.root} holds other "
                    f"examples (digest {found}, not {known}); give this one another name (name=...)"
                )
            return


def move(run_dir: Path, config: Config) -> None:
    """Has an interrupted run read its data where the study now does."""
    stored = from_tree(read_config(run_dir))
    if stored.data.root != config.data.root:
        write_config(replace(stored, data=replace(stored.data, root=config.data.root)), run_dir / "config.yaml")
