"""A configuration resolved against its data: all that a worker and the driver agree on before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.engines import ENGINES, Engine
from unlocked.schema.keys import MULTI_STAGE
from unlocked.schemes import SCHEMES, ModuleLearner, ModuleSpec
from unlocked.tasks import Task, load, make_task
from unlocked_models.contract.batch import Example


@dataclass(frozen=True)
class Plan:
    """A configuration resolved against its data: everything that a worker and the driver must agree on."""

    config: Config
    task: str
    example: Example
    specs: list[ModuleSpec]
    costs: list[float]  # of each block, floating-point operations per example
    costs_beside: list[float]  # of what the scheme computes beside each module, in the same unit
    parameters: list[int]  # of each block
    weights: dict[str, tuple[int, ...]]  # shapes of weights and buffers, by their keys in a checkpoint
    lag: int
    engine: str  # its name, never auto
    n_train: int
    steps_per_epoch: int
    carries: bool  # layers go on where the last minibatch ended
    finding: list[int] = field(default_factory=list)  # blocks that find their first weights in the training data
    ties: tuple[tuple[int, int], ...] = ()  # blocks that no cut may part: the second reads what the first one made
    net: str | None = None  # which of several this is the plan of; None: the only one, or all of them
    phases: tuple[str, ...] = ()  # in which this net learns, if it is one of several
    nets: Mapping[str, Plan] = field(default_factory=dict)  # by name, if the model has several

    @property
    def modules(self) -> int:
        return len(self.specs)

    @property
    def workers_per_replica(self) -> int:
        """Workers along the net, or along all of several; fewer than modules if each holds several."""
        return self.modules // self.config.parallel.held()

    @property
    def workers(self) -> int:
        return self.workers_per_replica * self.config.parallel.replicas

    @property
    def learners(self) -> int:
        """One for every module of every replica, and phase: what a checkpoint holds the states of."""
        modules = sum(plan.modules * len(plan.phases) for plan in self.nets.values()) if self.nets else self.modules
        return modules * self.config.parallel.replicas

    @property
    def placement(self) -> list[int]:
        """For each module the worker (of a replica) that holds it: neighbours together, [0, 0, 1, 1]; in pipelines
        with several modules per worker in turn, [0, 1, 0, 1], or in a V, [0, 1, 1, 0]."""
        schedule, held = self.config.parallel.schedule, self.config.parallel.held()
        workers = list(range(self.workers_per_replica))
        if schedule == "zero_bubble":
            return workers + workers[::-1]
        if schedule in MULTI_STAGE:
            return workers * held
        return [worker for worker in workers for _ in range(held)]

    def held_by(self, worker: int) -> list[int]:
        """The modules of one worker, from the input up."""
        return [module for module, holder in enumerate(self.placement) if holder == worker]

    @property
    def total_steps(self) -> int:
        return self.config.train.steps or self.steps_per_epoch * self.config.train.epochs

    @property
    def epochs(self) -> int:
        """Of which the last may be cut short."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def frozen(self) -> int:
        """Blocks, from the input up, that learn nothing."""
        return self.config.transfer.blocks or 0 if self.config.transfer.freeze else 0

    @property
    def frozen_parts(self) -> tuple[str, ...]:
        """Layers of these names learn nothing in any block."""
        return tuple(self.config.transfer.parts) if self.config.transfer.freeze else ()

    @property
    def scheme(self) -> type[ModuleLearner]:
        return SCHEMES.get(self.config.scheme.name)

    @property
    def schedule(self) -> str:
        """In words: how late messages are consumed, or how the pipeline is filled."""
        parallel = self.config.parallel
        each = f", {parallel.held()} modules per worker" if parallel.held() > 1 else ""
        if parallel.schedule == "locked":
            lags = {net: plan.lag for net, plan in self.nets.items()}
            differ = len(set(lags.values())) > 1
            lag = ", ".join(f"{net} {lag}" for net, lag in lags.items()) if differ else self.lag
            return f"lag {lag}{each}"
        return f"{parallel.schedule} with {parallel.microbatch_count()} microbatches{each}"

    def make_task(self) -> Task:
        return make_task(self.task, self.config.objective)

    def make_engine(self) -> Engine:
        return ENGINES.get(self.engine)()


def load_data(config: Config, level: int | None = None) -> DataSet:
    """The configured data set, at another `level` of its curriculum where one is given."""
    d = config.data
    options = d.options if level is None else {**d.options, "level": level}
    return load(
        d.name,
        root=d.root,
        validation=d.validation,
        examples=d.examples,
        seed=d.seed,
        download=d.download,
        transforms=d.transforms,
        **options,
    )


def first_level(config: Config) -> int:
    """Of the data's curriculum."""
    return int(config.data.options.get("level", 1))
