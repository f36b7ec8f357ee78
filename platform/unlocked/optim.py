"""Optimisers by name, and the learning-rate schedules as functions of the step alone.

    @register_optimizer("lion")
    class Lion(torch.optim.Optimizer): ...      # any callable (parameters, lr=..., **options) -> Optimizer

An option of `optimizer.` is passed on if it is set and the optimiser's signature names it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.blame import place, said
from unlocked.errors import ConfigError, reason
from unlocked.schema.keys import OptimizerConfig
from unlocked_models.contract.registry import Registry

OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optimizer")
register_optimizer = OPTIMIZERS.register
for _name, _class in (
    ("adam", torch.optim.Adam),
    ("adamw", torch.optim.AdamW),
    ("sgd", torch.optim.SGD),
    ("rmsprop", torch.optim.RMSprop),
):
    register_optimizer(_name)(_class)


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The configured optimiser over one module's parameters, in its fused form if torch has one."""
    factory = OPTIMIZERS.get(config.name)
    fused = {"fused": True} if "fused" in inspect.signature(factory).parameters else {}
    made = factory(list(parameters), lr=config.lr, **_given(config), **fused)
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigError(f"optimizer.name: {config.name} gives a {type(made).__name__}, not a torch.optim.Optimizer")
    return made


def state_size(config: OptimizerConfig) -> float:
    """What the optimiser keeps beside a weight matrix, in multiples of its size; counted after a step on a small one.

    >>> [state_size(OptimizerConfig(name)) for name in ("adam", "rmsprop", "sgd")]
    [2.0, 1.0, 0.0]
    """
    weight = nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.zeros_like(weight)
    try:
        optimizer = build_optimizer(config, [weight])
        optimizer.step()
    except ConfigError:
        raise
    except Exception as error:  # a user's optimiser may raise anything
        at = place(error)
        raise ConfigError(
            f"optimizer.name: {config.name} fails on a first step{f', at {at}' if at else ''}: {said(error)}"
        ) from None
    return sum(tensor.nbytes for tensor in _tensors(optimizer.state[weight]) if tensor.dim()) / weight.nbytes


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping | list | tuple):
        for each in state.values() if isinstance(state, Mapping) else state:
            yield from _tensors(each)


def check_optimizer(config: OptimizerConfig) -> None:
    """Raises `ConfigError` when an option is set that the named optimiser does not have."""
    signature = inspect.signature(OPTIMIZERS.get(config.name))
    try:
        signature.bind([], lr=config.lr)
    except TypeError as error:
        raise ConfigError(
            f"optimizer.name: {config.name} is called as {config.name}(parameters, lr=...): {reason(error)}"
        ) from None
    accepted = signature.parameters
    for name in _given(config):
        if name not in accepted:
            raise ConfigError(f"optimizer.{name}: {config.name} has no such option")
    if config.nesterov and not config.momentum:
        raise ConfigError("optimizer.nesterov: true needs optimizer.momentum above 0")


def lr_factor(config: OptimizerConfig, steps: int) -> Callable[[int], float] | None:
    """What the learning rate is multiplied by at each step; None when it never changes.

    `linear` and `cosine` fall from 1 at the end of the warm-up to 0 after the last of `steps` steps.
    """
    if config.schedule == "constant" and config.warmup == 0:
        return None
    warmup = config.warmup

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return factor


def _given(config: OptimizerConfig) -> dict[str, Any]:
    options = {name: getattr(config, name) for name in ("weight_decay", "momentum", "nesterov", "betas", "eps")}
    return {name: value for name, value in options.items() if value is not None}
