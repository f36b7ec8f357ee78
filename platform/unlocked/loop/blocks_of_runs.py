"""Blocks of other runs, and whether they fit those of this one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from unlocked.errors import ConfigError
from unlocked.runs.checkpoint import Checkpoints, load_weights

Weights = dict[str, Tensor]
Shape = tuple[int, ...]
Each = TypeVar("Each")


def weights_of_run(folder: str, key: str) -> tuple[Path, Weights]:
    """The folder and its best weights, else its last. Raises `ConfigError`, naming `key`, if it has none."""
    run = Path(folder)
    checkpoints = Checkpoints(run)
    checkpoint = checkpoints.best() or checkpoints.last()
    if checkpoint is None:
        raise ConfigError(f"{key}: {run} is no run folder with a checkpoint")
    return run, load_weights(checkpoint)


def refuse_several_nets(source: Path, theirs: Weights, key: str, model: str) -> None:
    nets = dict.fromkeys(name.partition(".")[0] for name in theirs if not name.partition(".")[0].isdecimal())
    if nets:
        raise ConfigError(f"{key}: {source} is a run of the nets {', '.join(nets)}, {model} is one net")


def by_block(weights: dict[str, Each]) -> dict[int, dict[str, Each]]:
    blocks: dict[int, dict[str, Each]] = {}
    for key, value in weights.items():
        blocks.setdefault(int(key.partition(".")[0]), {})[key] = value
    return blocks


def in_order(block: dict[str, Each]) -> list[tuple[str, Each]]:
    """By the numbers in their names, so that a layer more without weights, such as noise, changes nothing."""
    return sorted(
        block.items(),
        key=lambda item: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"\.", item[0])],
    )


def misfit(mine: dict[str, Shape], theirs: dict[str, Shape]) -> str | None:
    """Why the tensors of one block cannot become those of the other."""

    def kinds(block: dict[str, Shape]) -> list[str]:
        return [f"{key.rpartition('.')[2]} {shape}" for key, shape in in_order(block)]

    here, there = kinds(mine), kinds(theirs)
    if here == there:
        return None
    return f"it holds {', '.join(there) or 'no weights'}, here are {', '.join(here) or 'none'}"
