"""Engines by name: where the modules of a run train, and which configurations each engine takes.

An engine of your own is a class of facts, with a `Group` (`unlocked.engine.group`) that does the work:

    @register_engine("threads")
    class Threads(Engine):
        \"""Every module in a thread of this process.\"""

        group = ThreadGroup

Everything else asks an engine for its facts, never for its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from unlocked.entries import check_entry
from unlocked.errors import ConfigError, reason
from unlocked_models.contract.registry import Registry

if TYPE_CHECKING:
    from unlocked.engine.group import Group
    from unlocked.schema.keys import Config, ParallelConfig


class Engine:
    """The first line of an engine's docstring is its line in `unlocked list engines`."""

    group: ClassVar[type[Group] | str]  # or "module:Class", imported when a run starts
    nets_group: ClassVar[type[Group] | str | None] = None  # the same for a model of several nets; None: it takes none
    on_workers: ClassVar[bool] = False  # modules train in processes of their own, with one torch thread by default
    on_ray: ClassVar[bool] = False  # those are Ray actors, which ask the cluster for their CPUs and GPUs
    replicates: ClassVar[bool] = False  # takes parallel.replicas above 1
    pipelines: ClassVar[bool] = False  # takes every parallel.schedule
    label: ClassVar[str | None] = None  # in tables of runs; None: its name
    kind_of_workers: ClassVar[str] = "workers"

    def refuse(self, config: Config) -> None:
        """Raises `ConfigError` for a configuration that this engine never takes."""
        parallel, why = config.parallel, "needs workers; parallel.engine is"
        if self.on_workers:
            why = "cannot be had with parallel.engine"
        if parallel.replicas > 1 and not self.replicates:
            raise ConfigError(f"parallel.replicas: {parallel.replicas} {why} {parallel.engine}")
        if parallel.schedule != "locked" and not self.pipelines:
            raise ConfigError(f"parallel.schedule: {parallel.schedule} {why} {parallel.engine}")

    def refuse_here(self, config: Config) -> None:
        """Raises `ConfigError` for a device that this process would need and does not have."""
        import torch

        if not self.on_workers and config.parallel.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("parallel.device: cuda, but torch sees no GPU here")

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


def register_engine(name: str, **facts: Any) -> Callable[[E], E]:
    """Register an engine, a subclass of `Engine` with a `group`; `TypeError`, one line, for anything else."""

    def add(entry: E) -> E:
        check_entry("engine", name, entry, Engine, needs=("group",))
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
