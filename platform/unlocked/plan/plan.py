"""What a configuration comes to, worked out before anything starts: blocks, cuts, lag, places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.chain import WRITING, block_costs, partition
from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.engines import ENGINES, Engine, engine_name
from unlocked.errors import ConfigError, RunFailed, UnlockedError, reason
from unlocked.optim import state_size
from unlocked.plan.nets import check_phases, config_of, engine_of_nets, example_of, refuse_nets
from unlocked.plan.pipelines import SPLIT_BACKWARD, refuse_uncuttable, refuse_unsplittable
from unlocked.plan.rehearsal import refuse_added, rehearse, weights_of
from unlocked.schema.keys import MULTI_STAGE, OptimizerConfig
from unlocked.schemes import DTYPES, SCHEMES, ModuleLearner, ModuleSpec, options_of
from unlocked.schemes.dni import DNI
from unlocked.schemes.inputs import make_input_model
from unlocked.schemes.sg import SyntheticGradient
from unlocked.seeding import derive_seed
from unlocked.tasks import TASKS, Task, load
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, build, carrying, output_shapes
from unlocked_models.contract.nets import build_nets
from unlocked_models.contract.registry import MODELS

# Over h_k, beside those of M's layers: scaling a prediction, comparing it with its target, the messages. A ResNet's
# synthetic gradients take the time of about this many (on maps they are little else).
SG_PASSES = 12


@dataclass(frozen=True)
class Plan:
    """A configuration resolved against its data: everything that a worker and the driver must agree on."""

    config: Config
    task: str
    example: Example
    specs: list[ModuleSpec]
    costs: list[float]  # of each block, floating-point operations per example
    parameters: list[int]  # of each block
    lag: int
    engine: str  # its name, never auto
    n_train: int
    steps_per_epoch: int
    carries: bool  # layers go on where the last minibatch ended
    net: str | None = None  # which of several this is the plan of; None: the only one, or all of them
    phases: tuple[str, ...] = ()  # in which this net learns, if it is one of several
    nets: Mapping[str, Plan] = field(default_factory=dict)  # by name, if the model has several

    @property
    def modules(self) -> int:
        return len(self.specs)

    @property
    def workers_per_replica(self) -> int:
        """Workers along the net; fewer than modules if each holds several."""
        return self.config.parallel.workers_per_replica()

    @property
    def workers(self) -> int:
        return self.workers_per_replica * self.config.parallel.replicas

    @property
    def learners(self) -> int:
        """One for every module of every replica, and phase: what a checkpoint holds the states of."""
        if self.nets:
            return sum(plan.modules * len(plan.phases) for plan in self.nets.values())
        return self.modules * self.config.parallel.replicas

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
        return self.steps_per_epoch * self.config.train.epochs

    @property
    def frozen(self) -> int:
        """Blocks, from the input up, that learn nothing."""
        return self.config.transfer.blocks or 0 if self.config.transfer.freeze else 0

    @property
    def scheme(self) -> type[ModuleLearner]:
        return SCHEMES.get(self.config.scheme.name)

    @property
    def schedule(self) -> str:
        """In words: how late messages are consumed, or how the pipeline is filled."""
        parallel = self.config.parallel
        each = f", {parallel.held()} modules per worker" if parallel.held() > 1 else ""
        if parallel.schedule == "locked":
            return f"lag {self.lag}{each}"
        return f"{parallel.schedule} with {parallel.microbatch_count()} microbatches{each}"

    def make_task(self) -> Task:
        return TASKS.get(self.task)()

    def make_engine(self) -> Engine:
        return ENGINES.get(self.engine)()


# Parameters below which a plan runs two examples through the real blocks: the first operation on "meta" makes torch
# import a second's worth of modules, more than such a pass costs. Also numbers that its blocks give of two examples,
# below which that pass may also go backward.
SMALL = 20_000_000


def load_data(config: Config, level: int | None = None) -> DataSet:
    """The configured data set, at another `level` of its curriculum where one is given."""
    d = config.data
    options = d.options if level is None else {**d.options, "level": level}
    return load(
        d.name,
        root=d.root,
        validation=d.validation,
        seed=d.seed,
        download=d.download,
        transforms=d.transforms,
        **options,
    )


def make_plan(config: Config, data: DataSet) -> Plan:
    """Raises `ConfigError`, one line, for whatever does not fit together."""
    if config.data.batch_size > len(data.train):
        raise ConfigError(
            f"data.batch_size: {config.data.batch_size} is larger than the {len(data.train)} "
            f"training examples of {data.name}"
        )
    task = config.task or data.task
    example, objective = data.example, TASKS.get(task)()
    misfit = objective.misfit(data.task, example) or objective.unsuited(data.train.x)
    if misfit is not None:
        raise ConfigError(f"task: {task} does not fit {data.name}: {misfit}")
    if refuse_nets(config, task):
        return _plan_of_nets(config, data, task)
    return _plan_of(config, data, task)


def _plan_of_nets(config: Config, data: DataSet, task: str) -> Plan:
    """One after the other; the whole has the modules of all of them, in this order."""
    engine = engine_of_nets(config)
    plans = {
        net: _plan_of(config_of(config, net), data, task, net) for net in MODELS.facts(config.model["name"])["nets"]
    }
    learns = check_phases(config, data.example, TASKS.get(task)(), {net: plan.specs for net, plan in plans.items()})
    plans = {net: replace(plan, phases=learns[net]) for net, plan in plans.items()}
    first, *_ = plans.values()
    return replace(
        first,
        config=config,
        engine=engine,
        specs=[spec for plan in plans.values() for spec in plan.specs],
        costs=[cost for plan in plans.values() for cost in plan.costs],
        parameters=[n for plan in plans.values() for n in plan.parameters],
        net=None,
        phases=(),
        nets=plans,
    )


def _plan_of(config: Config, data: DataSet, task: str, net: str | None = None) -> Plan:
    """Of one net: the only one, or one of several."""
    objective = TASKS.get(task)()
    with torch.device("meta"):
        blocks = _build(config, data, net)
        example = data.example if net is None else example_of(config, data.example, net)
    _refuse_unready(config, blocks)
    small = sum(p.numel() for block in blocks for p in block.parameters()) < SMALL
    where = torch.device("cpu" if small else "meta")
    with where:
        if small:
            blocks = _build(config, data, net)
        shapes = _shapes(config, data, blocks, example)
        costs = block_costs(blocks, example.in_shape, example)
    wanted = objective.output_shape(example)
    if net is None and shapes[-1] != wanted:
        raise ConfigError(
            f"model.name: {config.model['name']} gives outputs of shape {shapes[-1]}, {task} of "
            f"{data.name} needs {wanted}"
        )
    unfit = objective.unfit(blocks)
    if unfit is not None:
        raise ConfigError(f"model.name: {config.model['name']} {unfit}")
    carries = bool(carrying(blocks))
    if carries and not data.ordered:
        raise ConfigError(
            f"model.carry: {config.model['name']} goes on where the last minibatch ended, but the "
            f"examples of {data.name} do not follow each other"
        )
    if config.train.curriculum is not None:
        _check_curriculum(config, data)
    if config.scheme.time.synthetic and not carries:
        raise ConfigError(
            f"scheme.time.synthetic: true, but no layer of {config.model['name']} goes on where the last "
            f"minibatch ended (recurrent models: model.carry=true)"
        )
    modules = config.parallel.modules
    if modules > len(blocks):
        raise ConfigError(
            f"parallel.modules: {modules} is more than the {len(blocks)} blocks of {config.model['name']} as configured"
        )
    # balanced over modules; the sums of workers that hold several are not looked at
    sizes = config.parallel.partition or partition(costs, modules, _sg_costs(config, shapes, where))
    if sum(sizes) != len(blocks):
        raise ConfigError(
            f"parallel.partition: {sizes} covers {sum(sizes)} blocks, {config.model['name']} has {len(blocks)}"
        )
    if config.parallel.schedule != "locked":
        refuse_uncuttable(config.parallel.schedule, blocks)
    stops = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    error_shape = SCHEMES.get(config.scheme.name).error_shape(config, blocks, stops, example)
    if net is not None and error_shape is None:  # the task speaks of the whole
        error_shape = shapes[-1]
    specs = _specs(sizes, shapes, example, error_shape)
    refused = SCHEMES.get(config.scheme.name).refuse(config, objective, blocks, specs)
    if refused is not None:
        raise ConfigError(f"scheme.name: {config.scheme.name} {refused}")
    _refuse_shared(blocks, specs)
    if config.parallel.schedule in SPLIT_BACKWARD:
        real = blocks if small else _build(config, data, net)
        refuse_unsplittable(config.parallel.schedule, real, specs, DTYPES[config.train.precision])
    steps_per_epoch = _steps_per_epoch(config, data, carries)
    lag = _lag(config, modules, steps_per_epoch * config.train.epochs)
    if issubclass(SCHEMES.get(config.scheme.name), DNI):
        for spec in specs[:-1]:
            with torch.device("meta"):
                SyntheticGradient(config.scheme.sg, spec.out_shape)  # raises where it does not fit
    plan = Plan(
        config=config,
        task=task,
        example=data.example,
        specs=specs,
        costs=costs,
        parameters=_parameters(blocks),
        lag=lag,
        engine=engine_name(config.parallel),
        n_train=len(data.train),
        steps_per_epoch=steps_per_epoch,
        carries=carries,
        net=net,
    )
    plan.make_engine().refuse_here(config)
    if small and 2 * sum(map(math.prod, shapes)) > SMALL:  # a pass of two examples would take memory and time
        with torch.device("meta"):
            blocks = _build(config, data, net)
    rehearse(config, blocks, specs)
    return plan


def _lag(config: Config, modules: int, steps: int) -> int:
    """In minibatches, of a run of as many steps."""
    given = config.scheme.lag
    lag = SCHEMES.get(config.scheme.name).auto_lag(modules) if given == "auto" else int(given)
    if lag and lag >= steps:
        here = f" (here {lag})" if given == "auto" else ""
        raise ConfigError(
            f"scheme.lag: {given}{here} is not below the {steps} steps of the run, in which no late "
            f"message would ever be consumed; train for longer, or set a smaller lag"
        )
    return lag


def _refuse_unready(config: Config, blocks: Sequence[nn.Module]) -> None:
    """Weights that have no shape yet, and models of which none may learn."""
    for i, block in enumerate(blocks):
        for name, value in (*block.named_parameters(), *block.named_buffers()):
            if is_lazy(value):
                raise ConfigError(
                    f"model.name: {name} of block {i} ({type(block).__name__}) of "
                    f"{config.model['name']} has no shape before its first pass; a builder knows "
                    f"in_shape, so use nn.Linear in place of nn.LazyLinear, say"
                )
    weights = [p for block in blocks for p in block.parameters()]
    if weights and not any(p.requires_grad for p in weights):
        raise ConfigError(
            f"model.name: every weight of {config.model['name']} has requires_grad=False: there is nothing to train"
        )


def _parameters(blocks: Sequence[nn.Module]) -> list[int]:
    """Of each block; one that several share counts for the first."""
    counted: set[int] = set()
    numbers = []
    for block in blocks:
        own = {id(p): p.numel() for p in block.parameters() if id(p) not in counted}
        counted |= own.keys()
        numbers.append(sum(own.values()))
    return numbers


def _refuse_shared(blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> None:
    """A weight of two modules would be two: each would move its own by the gradient of its own use."""
    held: dict[int, int] = {}
    for spec in specs:
        for i, block in enumerate(blocks[spec.start : spec.stop], spec.start):
            for name, p in block.named_parameters():
                if held.setdefault(id(p), spec.index) != spec.index:
                    raise ConfigError(
                        f"parallel.modules: modules {held[id(p)]} and {spec.index} share the weight "
                        f"{i}.{name}, whose gradient is the sum over both: a weight that is tied needs "
                        f"parallel.modules=1 or a cut elsewhere, or model.tied=false"
                    )


def _steps_per_epoch(config: Config, data: DataSet, carries: bool) -> int:
    """Minibatches of a pass over the data (of the first level of a curriculum)."""
    each = data.stretch if carries and data.stretch is not None else 1  # rows of an episode follow each other
    return len(data.train) // each // config.data.batch_size * each


def _check_curriculum(config: Config, data: DataSet) -> None:
    """A later level must be the same kind of data, and late messages about the one before it must need no data."""
    if "bits" not in TASKS.get(data.task).also:
        raise ConfigError(f"train.curriculum: it follows val/bits, which {data.task} does not have")
    if data.validation is None:
        raise ConfigError("train.curriculum: it follows val/bits, and data.validation is 0")
    if config.scheme.synthetic_inputs:
        raise ConfigError(
            "train.curriculum: with scheme.synthetic_inputs minibatches are read again, late, when "
            "another level may have begun"
        )
    level = first_level(config)
    following = load_data(config, level + 1).example
    if following != data.example:
        raise ConfigError(
            f"train.curriculum: examples of {data.name} at level {level + 1} are not of the shape of "
            f"those at {level}; data.options.window cuts them into rows of one length"
        )


def first_level(config: Config) -> int:
    """Of the data's curriculum."""
    return int(config.data.options.get("level", 1))


def build_blocks(config: Config, example: Example, net: str | None = None) -> list[nn.Module]:
    """All blocks of the net, initialised from the run's seed alone: every worker builds the same."""
    options = {key: value for key, value in config.model.items() if key != "name"}
    given = config.model["name"], example.in_shape, example.n_outputs
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.seed, "init"))
        if net is None:
            blocks = build(*given, example=example, **options)
        else:
            blocks = list(build_nets(*given, example=example, **options)[net].blocks)
    for layer in (layer for block in blocks for layer in block.modules()):
        if getattr(layer, "inplace", False) is True:  # it would overwrite what the module below holds
            layer.inplace = False  # type: ignore[assignment]
    return blocks


def named_weights(plan: Plan) -> dict[str, Tensor]:
    """As a checkpoint names them, freshly initialised: of several nets each begins with that of its own."""
    if plan.nets:
        return {f"{net}.{key}": x for net, its in plan.nets.items() for key, x in named_weights(its).items()}
    return Chain(build_blocks(plan.config, plan.example, plan.net)).state_dict()


def build_learner(plan: Plan, module: int, device: torch.device, beside: ModuleLearner | None = None) -> ModuleLearner:
    """The learner of one module, on its device, in training mode; or one more of the same weights, `beside` another."""
    config, spec = plan.config, plan.specs[module]
    if beside is not None:
        learner = plan.scheme(spec, beside.chain, plan.make_task(), config, plan.lag)
        if beside.optimizer is not None:
            learner.optimizer = learner.holds("optimizer", beside.optimizer)
        return learner
    try:
        blocks = build_blocks(config, plan.example, plan.net)
        if _parameters(blocks) != plan.parameters:
            raise ConfigError(
                f"model.name: {config.model['name']} differs from call to call: its builder gave blocks "
                f"of {plan.parameters} parameters, and now of {_parameters(blocks)}; it has to depend on "
                f"its arguments alone"
            )
        blocks = blocks[spec.start : spec.stop]
        chain = Chain(blocks).to(device, DTYPES[config.train.precision]).train()
        chain.freeze(min(max(plan.frozen - spec.start, 0), len(blocks)))
        return plan.scheme(spec, chain, plan.make_task(), config, plan.lag)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise RunFailed(
            f"module {module} of {config.model['name']} does not fit into the memory of its worker: {reason(error)}"
        ) from None


def device_of(plan: Plan) -> torch.device:
    """The device of the worker that asks."""
    wanted = plan.config.parallel.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("parallel.device: cuda, but this worker sees no GPU")
    return torch.device("cuda", 0) if wanted == "cuda" else torch.device("cpu")


def describe(plan: Plan) -> list[dict[str, Any]]:
    """One row per module: blocks, parameters, share of the cost, memory; what `--dry-run` prints."""
    if plan.nets:
        return [{"net": net} | row for net, its in plan.nets.items() for row in describe(its)]
    total = sum(plan.costs)
    width = 8 if plan.config.train.precision == "fp64" else 4
    batch = plan.config.data.batch_size // plan.config.parallel.replicas
    rows = []
    for spec in plan.specs:
        parameters = sum(plan.parameters[spec.start : spec.stop])
        sg = inputs = 0
        if issubclass(plan.scheme, DNI):
            with torch.device("meta"):
                if not spec.is_last:
                    sg = _size(plan.scheme.make_sg(plan.config, spec.out_shape, plan.make_task(), plan.example))
                if plan.config.scheme.synthetic_inputs and not spec.is_first:
                    inputs = _size(make_input_model(options_of(plan.scheme, plan.config).inputs, spec))
        # weights, gradients, optimiser state
        copied = sum(
            n * (2 + state_size(optimizer))
            for n, optimizer in (
                (parameters, plan.config.optimizer),
                (sg, OptimizerConfig(name=plan.config.scheme.sg.optimizer)),
                (inputs, OptimizerConfig(name="adam")),
            )
            if n
        )
        kept = batch * torch.Size(spec.out_shape).numel() * (plan.lag + 1)
        rows.append(
            {
                "module": spec.index,
                "worker": plan.placement[spec.index],
                "blocks": f"{spec.start}-{spec.stop - 1}",
                "parameters": parameters,
                "sg_parameters": sg,
                "input_parameters": inputs,
                "cost_share": sum(plan.costs[spec.start : spec.stop]) / total,
                "memory_bytes": round(width * (copied + kept)),
                "out_shape": spec.out_shape,
            }
        )
    return rows


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _build(config: Config, data: DataSet, net: str | None = None) -> list[nn.Module]:
    try:
        with knowing_of_ctrl_c() as is_ctrl_c:
            return build_blocks(config, data.example, net)
    except UnlockedError:
        raise
    except BaseException as error:  # a user's model may raise anything
        if is_ctrl_c(error):
            raise
        why, at = reason(error), place(error)
        if at is not None and not why.startswith("model."):
            why = f"model.name: {config.model['name']} failed at {at}: {said(error)}"
        raise ConfigError(why if why.startswith("model.") else f"model: {why}") from None


def _shapes(config: Config, data: DataSet, blocks: Sequence[nn.Module], example: Example) -> list[tuple[int, ...]]:
    try:
        with knowing_of_ctrl_c() as is_ctrl_c:
            weights = [weights_of(block) for block in blocks]
            shapes = output_shapes(blocks, example.in_shape, example)
        for i, (block, before) in enumerate(zip(blocks, weights, strict=True)):
            refuse_added(i, block, before)
        return shapes
    except UnlockedError:
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        at = place(error)
        raise ConfigError(
            f"model.name: {config.model['name']} cannot run on examples of shape {example.in_shape} of "
            f"{data.name}{f', at {at}' if at else ''}: {said(error) if at else reason(error)}"
        ) from None


def _specs(
    sizes: Sequence[int], shapes: Sequence[tuple[int, ...]], example: Example, error_shape: tuple[int, ...] | None
) -> list[ModuleSpec]:
    specs, start = [], 0
    for index, size in enumerate(sizes):
        stop = start + size
        specs.append(
            ModuleSpec(
                index=index,
                modules=len(sizes),
                start=start,
                stop=stop,
                n_blocks=sum(sizes),
                in_shape=shapes[start - 1] if start else example.in_shape,
                out_shape=shapes[stop - 1],
                example=example,
                error_shape=error_shape,
            )
        )
        start = stop
    return specs


def _sg_costs(config: Config, shapes: Sequence[tuple[int, ...]], where: torch.device) -> list[float] | None:
    """What a synthetic-gradient model behind each block would cost; a cut must count it."""
    scheme = SCHEMES.get(config.scheme.name)
    if not issubclass(scheme, DNI) or config.parallel.modules == 1:
        return None
    costs = []
    for shape in shapes:
        try:
            with where, torch.random.fork_rng(devices=[]):
                model = SyntheticGradient(config.scheme.sg, shape)
        except ConfigError:  # this kind of M does not fit here; if no cut avoids it, that is said
            costs.append(math.inf)
            continue
        (cost,) = block_costs([model], shape)
        # forward to predict, then forward and backward to learn; and what the numbers of h_k are written for
        costs.append(1.5 * cost + SG_PASSES * WRITING * math.prod(shape))
    return costs
