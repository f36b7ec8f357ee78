"""Parameter groups by a pattern of names: `optimizer.groups: [{pattern: "*.bias", weight_decay: 0}]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any, get_type_hints

import torch
from torch import nn

from unlocked.errors import ConfigError
from unlocked.options import fits
from unlocked.schema.facts import fact_of
from unlocked.schema.keys import OptimizerConfig
from unlocked_models.contract.registry import unknown


def grouped(groups: Sequence[Mapping[str, Any]], parameters: Sequence[nn.Parameter], names: Sequence[str]) -> list[Any]:
    """The parameters, as an optimiser takes them: those of no group with its own options, after those of each. The
    first pattern that meets a name has it; groups without parameters are left out."""
    found: list[dict[str, Any]] = [{"params": [], **_options(group)} for group in groups]
    rest: dict[str, Any] = {"params": []}
    for parameter, name in zip(parameters, names, strict=True):
        at = next((i for i, group in enumerate(groups) if fnmatchcase(name, group["pattern"])), None)
        (rest if at is None else found[at])["params"].append(parameter)
    return [group for group in (*found, rest) if group["params"]]


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in group.items() if key != "pattern"}


def refuse_strangers(groups: Sequence[Mapping[str, Any]], names: Sequence[str], model: str) -> None:
    """Raises `ConfigError` for a pattern that meets no parameter of the net, whose names are those of a checkpoint."""
    for i, group in enumerate(groups):
        pattern = group["pattern"]
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"optimizer.groups[{i}].pattern: {unknown(f'parameter of {model}', pattern, names)}")


def check_groups(config: OptimizerConfig, made: torch.optim.Optimizer) -> None:
    """Raises `ConfigError` for a group without a pattern, and for options that a group of the optimiser `made` cannot
    have, or not with this value."""
    facts = {field.name: fact_of(field) for field in fields(config)}
    kinds = get_type_hints(type(config))
    able = [name for name in made.defaults if name in facts]
    for i, group in enumerate(config.groups):
        key = f"optimizer.groups[{i}]"
        if not isinstance(group, dict) or not isinstance(group.get("pattern"), str):
            raise ConfigError(f'{key}: {group!r} has no pattern; write {{pattern: "*.bias", lr: 0.01}}')
        for name, value in group.items():
            if name == "pattern":
                continue
            if name not in able:
                raise ConfigError(f"{key}.{name}: {unknown(f'option of a group of {config.name}', name, able)}")
            if value is None or not fits(value, kinds[name]):
                raise ConfigError(f"{key}.{name}: {value!r} is not of type {kinds[name]}")
            fact = facts[name]
            if fact is not None and (problem := fact.problem(value)) is not None:
                raise ConfigError(f"{key}.{name}: {problem}")
