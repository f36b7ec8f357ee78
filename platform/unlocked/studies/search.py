"""Optuna's samplers and pruners by name, with their own arguments: who chooses trials, and who ends them early.

    sweep: {sampler: tpe, pruner: {name: asha, min_resource: 2}}

`grid` is not among the samplers: every point of a grid is queued, in order, and none is chosen.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unlocked.config import Config
from unlocked.errors import ConfigError, reason
from unlocked.seeding import derive_seed
from unlocked_models.contract.registry import unknown

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

GRID = "grid"
SAMPLERS = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
}
PRUNERS = {
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "patient": "PatientPruner",
}

# what the field expects of the name, where Optuna's default is otherwise
_SAMPLER_DEFAULTS: dict[str, dict[str, Any]] = {"TPESampler": {"multivariate": True}, "QMCSampler": {"scramble": True}}
_PRUNER_DEFAULTS: dict[str, dict[str, Any]] = {
    "SuccessiveHalvingPruner": {"min_resource": 1},  # epochs; `auto` would wait for a whole trial
    "PercentilePruner": {"percentile": 25.0},
    "PatientPruner": {"wrapped_pruner": "median", "patience": 3},
}
_EXHAUSTIVE = ("GridSampler", "BruteForceSampler")  # they stop Optuna's own loop when they are through


def is_grid(config: Config) -> bool:
    return _name_and_options("sampler", config.sweep.sampler)[0] == GRID


def words_of(config: Config) -> str:
    """The sampler and the pruner, as a legend says it."""
    sampler, options = _name_and_options("sampler", config.sweep.sampler)
    words = [sampler, *(f"{key}={value}" for key, value in options.items())]
    if config.sweep.pruner is not None:
        pruner, options = _name_and_options("pruner", config.sweep.pruner)
        words += ["with", pruner, *(f"{key}={value}" for key, value in options.items())]
    return " ".join(words)


def make_sampler(config: Config, number: int) -> BaseSampler:
    """The sampler as it chooses trial `number`.

    Its draws are a function of the study's seed, that number and the trials before it, so a study that was interrupted
    goes on as if it had not been. Raises `ConfigError`, one line, for an unknown name or argument.
    """
    name, options = _name_and_options("sampler", config.sweep.sampler)
    if name == GRID:  # every point is queued: it is never asked
        name, options = "RandomSampler", {}
    cls, known = _class("sampler", name, SAMPLERS)
    name = cls.__name__
    given = _SAMPLER_DEFAULTS.get(name, {}) | options
    if "seed" in known:
        of = () if name == "QMCSampler" else (number,)  # whose sequence is one for a whole study
        # 32 bits: what numpy and scipy seed from everywhere
        given = {"seed": derive_seed(config.seed, "sweep", *of) >> 31} | given
    if name == "TPESampler":
        given = {"group": given["multivariate"]} | given  # joint over the dimensions that trials have in common
    if "warn_independent_sampling" in known and name != "TPESampler":  # whose own is deprecated
        given = {"warn_independent_sampling": False} | given  # conditional dimensions are drawn alone
    if "constant_liar" in known:
        given = {"constant_liar": config.sweep.concurrent > 1} | given
    out: BaseSampler = _made("sampler", name, cls, given)
    return out


def make_pruner(config: Config) -> BasePruner:
    """The pruner, over epochs; Optuna's that never prunes if none is configured."""
    from optuna.pruners import NopPruner

    return NopPruner() if config.sweep.pruner is None else _pruner(config.sweep.pruner, config.train.epochs)


def _pruner(value: Any, epochs: int) -> BasePruner:
    name, options = _name_and_options("pruner", value)
    cls, known = _class("pruner", name, PRUNERS)
    name = cls.__name__
    given = _PRUNER_DEFAULTS.get(name, {}) | options
    if "max_resource" in known:
        given = {"max_resource": epochs} | given
    if given.get("wrapped_pruner") is not None:
        given["wrapped_pruner"] = _pruner(given["wrapped_pruner"], epochs)
    out: BasePruner = _made("pruner", name, cls, given)
    return out


def check_search(config: Config) -> None:
    """Names, arguments, and what goes together; raises `ConfigError`, one line."""
    sweep = config.sweep
    make_sampler(config, 0)
    make_pruner(config)
    if is_grid(config):
        for key in ("trials", "enqueue"):
            if getattr(sweep, key):
                raise ConfigError(f"sweep.{key}: a grid holds every combination; {key} is for the other samplers")
    elif sweep.trials is None and sweep.hours is None:
        raise ConfigError("sweep.trials: a search has no end of its own; give trials, hours or both")
    elif sweep.trials is not None and len(sweep.enqueue) > sweep.trials:
        raise ConfigError(f"sweep.enqueue: {len(sweep.enqueue)} points are more than sweep.trials, {sweep.trials}")
    if sweep.pruner is None:
        return
    if len(sweep.metrics()) > 1:
        raise ConfigError(f"sweep.pruner: Optuna prunes by one metric, but sweep.metric names {len(sweep.metrics())}")
    (metric,) = sweep.metrics()
    if not metric.startswith(("val/", "best/val_")):
        raise ConfigError(f"sweep.pruner: {metric} is known at the end of a trial only; pruning needs a val/ metric")


def _name_and_options(kind: str, value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError(
            f"sweep.{kind}: expected a name, or a name with options such as {{name: ..., ...}}, got {value!r}"
        )
    return value["name"], {key: option for key, option in value.items() if key != "name"}


def _class(kind: str, name: str, short: dict[str, str]) -> tuple[Callable[..., Any], list[str]]:
    """The class by its short name or its own, and its keywords."""
    import optuna

    module = getattr(optuna, f"{kind}s")
    base = getattr(module, f"Base{kind.capitalize()}")
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and not inspect.isabstract(value)
        and key not in (*_EXHAUSTIVE, "PartialFixedSampler")
    }  # which holds one that is to be given here
    full = short.get(name, name)
    if full in _EXHAUSTIVE:
        raise ConfigError(f"sweep.{kind}: {full} takes every point of the space; {GRID} does that here")
    if full not in classes:
        names = [*([GRID] if kind == "sampler" else []), *short, *classes]
        raise ConfigError(f"sweep.{kind}: {unknown(kind, name, names)}")
    return classes[full], list(inspect.signature(classes[full].__init__).parameters)[1:]


def _made(kind: str, name: str, cls: Callable[..., Any], options: dict[str, Any]) -> Any:
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    for key in options:
        if key not in known:
            raise ConfigError(f"sweep.{kind}.{key}: {unknown('option', key, known)} of {name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental", it says
            return cls(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sweep.{kind}: {name}: {reason(error)}") from None
    except ImportError as error:
        raise ConfigError(f"sweep.{kind}: {name} needs a package that is not installed: {reason(error)}") from None
