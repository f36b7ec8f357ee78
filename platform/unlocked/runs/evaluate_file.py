"""A trained run on another file of the kind that it was trained on, its data set not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unlocked.data import Split
from unlocked.data.new.targets import read_labelled
from unlocked.errors import ConfigError, DataError
from unlocked.runs.evaluate import measure
from unlocked.runs.opened import open_trained
from unlocked.tasks.phases import NET


def evaluate_file(run_dir: Path, file: Path, weights: str = "best", target: str | None = None) -> dict[str, Any]:
    """As `evaluate_run`, of the inputs and targets of a file, read as in training; `target` names its column.

    Raises `ConfigError` for a run whose inputs come from no file, `DataError` for a fault in the file.
    """
    opened = open_trained(run_dir, weights)
    opened.refuse_without_inputs()
    config, reading, task = opened.config, opened.reading, opened.task
    if NET not in opened.trained.nets or config.task not in (None, reading.task) or task.learns_input:
        raise ConfigError(f"{run_dir}: a run of {config.task or reading.task} has no targets that a file could hold")
    found = read_labelled(file, reading, config.data.options, target)
    try:
        y = task.targets(found.y)
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: targets do not fit: {error}") from None
    shape = tuple(y.shape[1:])
    if len(shape) != len(reading.example.y_shape):
        raise DataError(f"{file}: targets have shape {shape}, in training {reading.example.y_shape}")
    if not y.is_floating_point() and int(y.max()) >= reading.example.n_outputs:
        raise DataError(f"{file}: holds class {int(y.max())}; this net knows 0 to {reading.example.n_outputs - 1}")
    if y.is_floating_point() and reading.target_mean is not None:
        mean, deviation = (torch.tensor(each) for each in (reading.target_mean, reading.target_deviation))
        y = ((y - mean) / deviation).float()
    example = reading.example
    if example.y_shape and example.y_shape[0] == reading.shape[0]:  # places of a graph, as many as it has nodes
        example = replace(example, in_shape=tuple(found.new.x.shape[1:]), y_shape=shape)
    data = reading.stand_in(Split(found.new.x, y, found.new.extras), example)
    result = measure(run_dir, replace(config, data=replace(config.data, batch_size=1)), data, "test", weights)
    metrics = {name.replace("test/", "data/", 1): value for name, value in result["metrics"].items()}
    return {**result, "split": "data", "file": str(file), "metrics": metrics, "notes": found.new.notes}
