"""Optimisers by name.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unlocked.blame import place, said
from unlocked.errors import ConfigError, reason
from unlocked.optim.groups import check_groups, grouped
from unlocked.schema.declared import NoOptions, Option, check_declared, collected
from unlocked.schema.facts import default_of
from unlocked.schema.keys import OptimizerConfig
from unlocked_models.contract.registry import Registry

Factory = Callable[..., torch.optim.Optimizer]
Added = TypeVar("Added", bound=Factory)
OPTIMIZERS: Registry[Factory] = Registry("optimizer")


_OPTIONS: dict[Any, type] = {}  # of factories that are not ours, and have no attribute `Options`


class SetOptions(NoOptions):
    """Base of options that may all be null, which leaves the optimiser's own default: passed on if they are set."""


def register_optimizer(name: str, *, options: type | None = None, **facts: Any) -> Callable[[Added], Added]:
    """Register an optimiser; the fields of its `Options`, if it has any, become keys under `optimizer.`.

    Args:
        options: in place of its attribute `Options`.
        facts: `takes`, the callable whose signature it has if its own does not say; `fused=False`, its fused form is
            not used; `searches=True`, it evaluates the loss again within a step, so it needs all examples at once;
            `keeps`, what `state_size` is, given its options, if one step does not show it.

    Raises `ValueError`, one line, for options that cannot be keys, as `register_scheme` does.
    """

    def add(factory: Added) -> Added:
        if options is not None:
            _OPTIONS[factory] = options
        check_declared("optimizer", name, options_type(factory), OptimizerConfig, declared())
        OPTIMIZERS.register(name, **facts)(factory)
        return factory

    return add


def options_type(factory: Factory) -> type:
    """The dataclass of the options that an optimiser declares."""
    found: type = _OPTIONS[factory] if factory in _OPTIONS else getattr(factory, "Options", NoOptions)
    return found


def torch_keys() -> list[str]:
    """Of the options that are passed on if they are set."""
    return [n for n, option in declared().items() if any(_sets(owner) for owner in option.owners)]


def _sets(name: str) -> bool:
    return issubclass(options_type(OPTIMIZERS.get(name)), SetOptions)


def searches(name: str) -> bool:
    """Whether it evaluates the loss of the whole training split several times in a step."""
    return bool(OPTIMIZERS.facts(name).get("searches"))


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """Those that it takes, by name."""
    return inspect.signature(OPTIMIZERS.facts(name).get("takes", OPTIMIZERS.get(name))).parameters


def takes(name: str, option: str) -> bool:
    """Whether it has an option that every optimiser may have, in the form that the key has."""
    parameter = _parameters(name).get(option)
    return parameter is not None and (option == "betas" or not isinstance(parameter.default, tuple))


def declared() -> dict[str, Option]:
    """The options of all registered optimisers, by key."""
    return collected((name, options_type(OPTIMIZERS.get(name))) for name in OPTIMIZERS)


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter], names: Sequence[str] | None = None
) -> torch.optim.Optimizer:
    """The configured optimiser over one module's parameters, in its fused form if torch has one; in its groups if the
    parameters' `names` are given."""
    factory = OPTIMIZERS.get(config.name)
    has_fused = "fused" in _parameters(config.name) and OPTIMIZERS.facts(config.name).get("fused", True)
    fused = {"fused": True} if has_fused else {}
    given: list[Any] = list(parameters)
    if names is not None and config.groups:
        given = grouped(config.groups, given, names)
    made = factory(given, lr=config.lr, **_given(config), **_own(config), **fused)
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigError(f"optimizer.name: {config.name} gives a {type(made).__name__}, not a torch.optim.Optimizer")
    return made


def refuse_misstep(config: OptimizerConfig) -> None:
    """Raises `ConfigError`, one line, for an optimiser of a user's own that cannot step, or makes another tensor of a
    weight: training would fail in the midst of torch."""
    room = getattr(OPTIMIZERS.get(config.name), "__module__", "").partition(".")[0]
    if room not in ("torch", "unlocked") and not searches(config.name):
        with torch.random.fork_rng(devices=[]):
            state_size(config)


def state_size(config: OptimizerConfig) -> float:
    """What the optimiser keeps beside a weight matrix, in multiples of its size; counted after a step on a small one.

    >>> [state_size(OptimizerConfig(name)) for name in ("adam", "rmsprop", "sgd")]
    [2.0, 1.0, 0.0]
    """
    keeps = OPTIMIZERS.facts(config.name).get("keeps")
    if keeps is not None:
        return float(keeps(_own(config)))
    weight = nn.Parameter(torch.zeros(64, 64))
    weight.grad = before = torch.zeros_like(weight)
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
    if (weight.shape, weight.dtype) != (before.shape, before.dtype):
        raise ConfigError(
            f"optimizer.name: {config.name} makes a weight of shape {tuple(before.shape)}, {before.dtype}, one of "
            f"{tuple(weight.shape)}, {weight.dtype}; a step changes values alone"
        )
    return sum(tensor.nbytes for tensor in _tensors(optimizer.state[weight]) if tensor.dim()) / weight.nbytes


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping | list | tuple):
        for each in state.values() if isinstance(state, Mapping) else state:
            yield from _tensors(each)


def check_optimizer(config: OptimizerConfig) -> None:
    """Raises `ConfigError` when an option is set that the named optimiser does not have, or that it refuses."""
    factory = OPTIMIZERS.get(config.name)
    try:
        inspect.signature(factory).bind([], lr=config.lr, **_own(config))
    except TypeError as error:
        options = "".join(f", {name}=..." for name in _own(config))
        raise ConfigError(
            f"optimizer.name: {config.name} is called as {config.name}(parameters, lr=...{options}): {reason(error)}"
        ) from None
    for name in _given(config):
        if not takes(config.name, name):
            raise ConfigError(f"optimizer.{name}: {config.name} has no such option")
    for name, option in declared().items():
        default = default_of(option.field)
        if config.name not in option.owners and getattr(config, name, default) != default:
            raise ConfigError(f"optimizer.{name}: {config.name} has no such option; {', '.join(option.owners)} has")
    momentum = _parameters(config.name).get("momentum")
    if config.nesterov and not config.momentum and momentum is not None and not momentum.default:
        raise ConfigError("optimizer.nesterov: true needs optimizer.momentum above 0")
    if _own(config) and issubclass(options_type(factory), SetOptions):
        try:
            build_optimizer(config, [nn.Parameter(torch.zeros(1, 1))])
        except ValueError as error:
            raise ConfigError(f"optimizer.{min(_own(config))}: {config.name} refuses it: {reason(error)}") from None
    if config.groups:
        check_groups(config, build_optimizer(config, [nn.Parameter(torch.zeros(1, 1))]))


def _given(config: OptimizerConfig) -> dict[str, Any]:
    options = {name: getattr(config, name) for name in ("weight_decay", "momentum", "nesterov", "betas", "eps")}
    return {name: value for name, value in options.items() if value is not None}


def _own(config: OptimizerConfig) -> dict[str, Any]:
    """Options that the optimiser declares; at their defaults in a configuration that was made without them."""
    options = options_type(OPTIMIZERS.get(config.name))
    found = {field.name: getattr(config, field.name, default_of(field)) for field in fields(options)}
    if issubclass(options, SetOptions):
        return {name: value for name, value in found.items() if value is not None}
    return found
