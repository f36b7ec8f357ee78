"""Small runs for contract tests: made data, every module in this process, float64."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unlocked.config import from_tree
from unlocked.data import DataSet, Split
from unlocked.engine.group import InProcessGroup
from unlocked.plan.make import make_plan

BASE: dict[str, Any] = {
    "data": {"name": "digits", "batch_size": 8, "validation": 0.0},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "train": {"epochs": 4, "precision": "fp64"},
    "parallel": {"engine": "inprocess", "device": "cpu", "threads": 1},
}
Series = dict[tuple[int, str], list[float]]  # by module and name


def made(in_shape: tuple[int, ...] = (1, 8, 8), classes: int = 5, n: int = 48) -> DataSet:
    """Noise with random labels: enough for what must hold exactly."""
    generator = torch.Generator().manual_seed(0)

    def split() -> Split:
        x = torch.randn(n, *in_shape, generator=generator)
        return Split(x, torch.randint(classes, (n,), generator=generator))

    names = [str(label) for label in range(classes)]
    return DataSet(
        name="made",
        task="classification",
        in_shape=in_shape,
        n_outputs=classes,
        class_names=names,
        train=split(),
        validation=None,
        test=split(),
    )


def started(data: DataSet, **tree: Any) -> InProcessGroup:
    """A run about to train; `tree` lies over `BASE`, group by group."""
    whole = {
        key: {**BASE.get(key, {}), **value} if isinstance(value, dict) and key not in ("model", "scheme") else value
        for key, value in {**BASE, **tree}.items()
    }
    return InProcessGroup(make_plan(from_tree(whole), data), data)


def trained(group: InProcessGroup, stops: Sequence[int], checkpoint_at: int | None = None) -> Series:
    """All that was recorded but times, from step `stops[0]` to `stops[-1]`, in segments that end at each of the
    others."""
    plan = group.modules[0].plan
    at = plan.total_steps if checkpoint_at is None else checkpoint_at
    series: Series = {}
    for stats in group.run(list(pairwise(stops)), at):
        for module, each in enumerate(stats):
            for name, values in each.series.items():
                if not name.startswith("time/"):
                    series.setdefault((module, name), []).extend(values)
    return series


def weights(group: InProcessGroup) -> dict[str, Tensor]:
    """Of the whole net, by the keys of its state dict."""
    return {key: value for module in group.modules for key, value in module.weights().items()}


def through_a_file(states: Any) -> Any:
    """As a checkpoint does it: no code is loaded."""
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def difference(one: Any, other: Any, place: str = "") -> str | None:
    """Where two nests of tensors and plain values first differ; None: they are equal bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return None if torch.equal(one, other) else place or "the tensor"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{place} has {sorted(map(str, one))} and {sorted(map(str, other))}"
        found = (difference(one[key], other[key], f"{place}.{key}".lstrip(".")) for key in one)
        return next((each for each in found if each), None)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{place} has {len(one)} and {len(other)} entries"
        found = (difference(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(one, other, strict=True)))
        return next((each for each in found if each), None)
    return None if one == other else f"{place}: {one!r} and {other!r}"
