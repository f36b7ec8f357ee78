"""Engines by name: where the modules of a run train, and which configurations each engine takes.

An engine of your own is a class of facts, with a `Group` (`unlocked.engine.group`) that does the work:

    @register_engine("threads")
    class Threads(Engine):
        \"""Every module in a thread of this process.\"""

        group = ThreadGroup

Everything else asks an engine for its facts, never for its name. The fields of its `Options`, if it declares any,
become keys under `parallel.`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from unlocked.compiling import missing
from unlocked.entries import check_entry
from unlocked.errors import ConfigError, reason
from unlocked.schema.declared import NoOptions, Option, check_declared, collected
from unlocked.schema.facts import default_of, key
from unlocked.schema.keys import Config, ParallelConfig
from unlocked_models.contract.registry import Registry

if TYPE_CHECKING:
    from unlocked.engine.group import Group


@dataclass(frozen=True)
class Shares:
    """Of a module, by one of its workers: which part of each category it holds."""

    weights: float = 1.0
    gradients: float = 1.0
    states: float = 1.0  # of optimisers
    copies: float = 0.0  # of weights, beside them
    whole_below: int = 0  # weights of fewer numbers are held whole in any case


class Engine:
    """The first line of an engine's docstring is its line in `unlocked list engines`."""

    group: ClassVar[type[Group] | str]  # or "module:Class", imported when a run starts
    nets_group: ClassVar[type[Group] | str | None] = None  # the same for a model of several nets; None: it takes none
    on_workers: ClassVar[bool] = False  # modules train in processes of their own, with one torch thread by default
    on_ray: ClassVar[bool] = False  # those are Ray actors, which ask the cluster for their CPUs and GPUs
    replicates: ClassVar[bool] = False  # takes parallel.replicas above 1
    pipelines: ClassVar[bool] = False  # takes every parallel.schedule
    shares_candidates: ClassVar[bool] = False  # of a scheme that proposes them; every worker holds the whole net
    resizes: ClassVar[bool] = False  # a run may go on with another number of replicas
    steps_itself: ClassVar[bool] = False  # steps the optimisers: none that evaluates the loss again
    label: ClassVar[str | None] = None  # in tables of runs; None: its name
    kind_of_workers: ClassVar[str] = "workers"
    Options: ClassVar[type] = NoOptions  # a dataclass of its own keys, each declared by `key`

    def refuse(self, config: Config) -> None:
        """Raises `ConfigError` for a configuration that this engine never takes."""
        parallel, why = config.parallel, "needs workers; parallel.engine is"
        if self.on_workers:
            why = "cannot be had with parallel.engine"
        if parallel.replicas > 1 and not self.replicates:
            raise ConfigError(f"parallel.replicas: {parallel.replicas} {why} {parallel.engine}")
        if parallel.schedule != "locked" and not self.pipelines:
            raise ConfigError(f"parallel.schedule: {parallel.schedule} {why} {parallel.engine}")

    def refuse_steps(self, config: Config, per_epoch: int) -> None:
        """Raises `ConfigError` if it cannot take a checkpoint after any of the run's segments; steps of an epoch."""

    def shares(self, config: Config) -> Shares:
        return Shares()

    def cuts_weights(self, config: Config) -> bool:
        """Whether an optimiser sees pieces of weights, cut anywhere."""
        return False

    def refuse_here(self, config: Config) -> None:
        """Raises `ConfigError` for a device or a compiler that this process would need and does not have."""
        import torch

        if self.on_workers:
            return
        if config.parallel.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("parallel.device: cuda, but torch sees no GPU here")
        on_gpu = config.parallel.device != "cpu" and torch.cuda.is_available()
        if config.train.compile and (why := missing("cuda" if on_gpu else "cpu")) is not None:
            raise ConfigError(f"train.compile: true, but {why}")

    def refuse_group(self, several_nets: bool = False) -> None:
        """Raises `ConfigError` for a group that cannot be imported; ours can, and takes a while."""
        group = self.nets_group if several_nets else self.group
        if not (isinstance(group, str) and group.startswith("unlocked.")):
            self.group_class(several_nets)

    def group_class(self, several_nets: bool = False) -> type[Group]:
        group = self.nets_group if several_nets else self.group
        assert group is not None
        found = _named(group) if isinstance(group, str) else group
        if not (isinstance(found, type) and all(hasattr(found, method) for method in ("run", "outputs", "last_words"))):
            raise ConfigError(f"parallel.engine: the group of {type(self).__name__}, {group!r}, is no unlocked.Group")
        return found

    def processes(self, config: Config, of_modules: int) -> int:
        """Workers in all, if modules and replicas alone would need `of_modules`."""
        return of_modules

    def place(self, workers: int) -> str:
        """Where a run of as many workers trains, in words."""
        return f"{workers} {self.kind_of_workers}" if self.on_workers else "this process"


def _named(group: str) -> Any:
    """`module:Class`; `ConfigError` if there is none."""
    module, _, name = group.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(f"parallel.engine: no group {group!r} can be imported: {reason(error)}") from None


AUTO, HERE, APART = "auto", "inprocess", "ray"  # auto: here for one worker, apart for more
ENGINES: Registry[type[Engine]] = Registry("engine")
E = TypeVar("E", bound=type[Engine])


def declared() -> dict[str, Option]:
    """The options of all registered engines, by key."""
    return collected((name, ENGINES.get(name).Options) for name in ENGINES)


def refuse_options_of_others(parallel: ParallelConfig) -> None:
    """Raises `ConfigError` for a key that is set, and that the run's engine does not have."""
    for name, option in declared().items():
        default = default_of(option.field)
        if engine_name(parallel) not in option.owners and getattr(parallel, name, default) != default:
            raise ConfigError(
                f"parallel.{name}: needs parallel.engine={' or '.join(option.owners)}, not {parallel.engine}"
            )


def register_engine(name: str, **facts: Any) -> Callable[[E], E]:
    """Register an engine, a subclass of `Engine` with a `group`; `TypeError`, one line, for anything else."""

    def add(entry: E) -> E:
        check_entry("engine", name, entry, Engine, needs=("group",))
        check_declared("engine", name, entry.Options, ParallelConfig, declared())
        if name == AUTO:
            raise ValueError(f"engine {name!r}: this name leaves the choice to the platform; give yours another")
        ENGINES.register(name, **facts)(entry)
        return entry

    return add


@register_engine(HERE)
class InProcess(Engine):
    """Every module in this process, one tick after the other: the same numbers as over workers, without Ray."""

    group = "unlocked.engine.group:InProcessGroup"
    nets_group = "unlocked.engine.phases:NetsGroup"
    label = "in process"


@register_engine(APART)
class OnRay(Engine):
    """Ray actors in one placement group, on this machine or over a cluster, tied by a process group."""

    group = "unlocked.launch.ray_group:RayGroup"
    nets_group = "unlocked.launch.ray_nets:RayNetsGroup"
    on_workers = on_ray = replicates = pipelines = True
    kind_of_workers = "Ray workers"


@register_engine("population")
class Population(Engine):
    """Ray workers that try the candidates of `scheme.name=evolution`; what one was given is done again if it dies."""

    group = "unlocked.launch.population:PopulationGroup"
    on_workers = on_ray = shares_candidates = True
    kind_of_workers = "Ray workers"

    @dataclass
    class Options:
        evaluators: int = key(2, "Ray workers of the population engine, each with the whole net", low=1, high=1024)

    def processes(self, config: Config, of_modules: int) -> int:
        return int(config.parallel.evaluators)

    def place(self, workers: int) -> str:
        return f"{super().place(workers)} that try the candidates"


@register_engine("deepspeed")
class Zero(Engine):
    """ZeRO by DeepSpeed on Ray workers: weights, gradients and optimiser states of a module, shared by its replicas."""

    group = "unlocked.launch.zero_group:ZeroGroup"
    on_workers = on_ray = replicates = resizes = steps_itself = True
    kind_of_workers = "Ray workers"

    @dataclass
    class Options:
        deepspeed: dict[str, Any] = key({}, "DeepSpeed's own keys, such as zero_optimization.stage")

    def refuse(self, config: Config) -> None:
        from unlocked.zero_keys import refuse  # DeepSpeed itself takes seconds to import

        super().refuse(config)
        refuse(config)

    def refuse_steps(self, config: Config, per_epoch: int) -> None:
        from unlocked.zero_keys import refuse_steps

        refuse_steps(config, per_epoch)

    def shares(self, config: Config) -> Shares:
        from unlocked.zero_keys import GRADIENTS, STATES, WEIGHTS, stage_of, whole_below

        stage, part = stage_of(config.parallel.deepspeed), 1 / config.parallel.replicas
        return Shares(
            weights=part if stage >= WEIGHTS else 1.0,
            gradients=part if stage >= GRADIENTS else 1.0,
            states=part if stage >= STATES else 1.0,
            copies=part if stage >= STATES else 0.0,
            whole_below=whole_below(config.parallel.deepspeed) if stage >= WEIGHTS else 0,
        )

    def cuts_weights(self, config: Config) -> bool:
        from unlocked.zero_keys import WHOLE, stage_of

        return stage_of(config.parallel.deepspeed) > WHOLE


def engine_name(parallel: ParallelConfig) -> str:
    if parallel.engine != AUTO:
        return parallel.engine
    return APART if parallel.workers_per_replica() * parallel.replicas > 1 else HERE


def engine_of(parallel: ParallelConfig) -> Engine:
    return ENGINES.get(engine_name(parallel))()


def label_of(name: str) -> str:
    """Of the engine of a run that may have been trained elsewhere, with an engine that is not known here."""
    return (ENGINES.get(name).label if name in ENGINES else None) or name


def may_be_on_ray(name: Any) -> bool:
    """Whether `parallel.engine` of that name may train on Ray actors."""
    return name == AUTO or ENGINES.get(name).on_ray
