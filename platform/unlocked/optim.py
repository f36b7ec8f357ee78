"""Optimisers by name, and the learning-rate schedules as functions of the step alone.

    @register_optimizer("lion")
    class Lion(torch.optim.Optimizer):      # any callable (parameters, lr=..., **options) -> Optimizer
        @dataclass
        class Options:
            decay: float = key(0.9, "of the average of gradients", low=0, below=1)      # optimizer.decay

An option that every optimiser may have (`optimizer.weight_decay`) is passed on if it is set and the signature names it;
those of `Options` always are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unlocked.blame import place, said
from unlocked.errors import ConfigError, reason
from unlocked.schema.declared import NoOptions, Option, check_declared, collected
from unlocked.schema.facts import default_of
from unlocked.schema.keys import OptimizerConfig
from unlocked_models.contract.registry import Registry

Factory = Callable[..., torch.optim.Optimizer]
Added = TypeVar("Added", bound=Factory)
OPTIMIZERS: Registry[Factory] = Registry("optimizer")


def register_optimizer(name: str, **facts: Any) -> Callable[[Added], Added]:
    """Register an optimiser; the fields of its `Options`, if it has any, become keys under `optimizer.`.

    Raises `ValueError`, one line, for options that cannot be keys, as `register_scheme` does.
    """

    def add(factory: Added) -> Added:
        check_declared("optimizer", name, options_type(factory), OptimizerConfig, declared())
        OPTIMIZERS.register(name, **facts)(factory)
        return factory

    return add


def options_type(factory: Factory) -> type:
    """The dataclass of the options that an optimiser declares."""
    found: type = getattr(factory, "Options", NoOptions)
    return found


def declared() -> dict[str, Option]:
    """The options of all registered optimisers, by key."""
    return collected((name, options_type(OPTIMIZERS.get(name))) for name in OPTIMIZERS)


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
    made = factory(list(parameters), lr=config.lr, **_given(config), **_own(config), **fused)
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
        signature.bind([], lr=config.lr, **_own(config))
    except TypeError as error:
        options = "".join(f", {name}=..." for name in _own(config))
        raise ConfigError(
            f"optimizer.name: {config.name} is called as {config.name}(parameters, lr=...{options}): {reason(error)}"
        ) from None
    accepted = signature.parameters
    for name in _given(config):
        if name not in accepted:
            raise ConfigError(f"optimizer.{name}: {config.name} has no such option")
    for name, option in declared().items():
        default = default_of(option.field)
        if config.name not in option.owners and getattr(config, name, default) != default:
            raise ConfigError(f"optimizer.{name}: {config.name} has no such option; {', '.join(option.owners)} has")
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


def _own(config: OptimizerConfig) -> dict[str, Any]:
    """Options that the optimiser declares; at their defaults in a configuration that was made without them."""
    return {
        field.name: getattr(config, field.name, default_of(field))
        for field in fields(options_type(OPTIMIZERS.get(config.name)))
    }
