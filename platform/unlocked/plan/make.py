"""From a configuration to its plan, in one pass: blocks, shapes, cuts, lag; what does not fit together is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from unlocked.chain import block_costs
from unlocked.config import Config
from unlocked.data import DataSet, asks_for_task
from unlocked.engines import engine_name
from unlocked.errors import ConfigError, in_one_line
from unlocked.optim import refuse_misstep, refuse_strangers
from unlocked.plan.blocks import count_parameters
from unlocked.plan.cut import costs_of_scheme, shapes_of, specs_of
from unlocked.plan.describe import refuse_memory
from unlocked.plan.net import Net
from unlocked.plan.nets import check_phases, config_of, engine_of_nets, example_of, refuse_idle, refuse_nets
from unlocked.plan.pipelines import SPLIT_BACKWARD, refuse_uncuttable, refuse_unsplittable
from unlocked.plan.plan import Plan
from unlocked.plan.refusals import (
    refuse_adversary,
    refuse_again,
    refuse_blocks,
    refuse_bounded,
    refuse_minibatches,
    refuse_output,
    refuse_parts,
    refuse_plateau,
    refuse_shared,
    refuse_sizes,
    refuse_unready,
)
from unlocked.plan.rehearsal import rehearse
from unlocked.plan.task_rehearsal import rehearse_task
from unlocked.plan.ties import refuse_parted, sizes_of, ties_of
from unlocked.schema.keys import ParallelConfig
from unlocked.schemes import DTYPES, SCHEMES, Turns
from unlocked.tasks import make_task
from unlocked.tasks.chosen import check_chosen
from unlocked.tasks.losses import WEIGHT, weigh
from unlocked_models.contract.chain import carrying, finding
from unlocked_models.contract.registry import MODELS

PlanNet = Callable[[Config, DataSet, str, str | None], Plan]  # the last: which of several nets


def make_plan(config: Config, data: DataSet) -> Plan:
    """Of a run that trains. Raises `ConfigError`, one line, for whatever does not fit together."""
    plan = _plan(config, data, _rehearsed)
    engine = plan.make_engine()
    engine.refuse_group(bool(plan.nets))
    engine.refuse_steps(config, plan.steps_per_epoch)
    refuse_again(plan)
    refuse_memory(plan)
    if plan.nets:
        refuse_idle(plan)
    return plan


def plan_segment(config: Config, data: DataSet, turns: Turns) -> Plan:
    """Of a segment before a run's own training, of one net, in which its blocks learn by `turns`."""
    return _plan(config, data, lambda given, of, task, net: _rehearsed(given, of, task, net, turns))


def plan_evaluation(config: Config, data: DataSet) -> Plan:
    """Of trained nets, each as one module in this process; nothing that concerns training is looked at."""
    plain = replace(config, scheme=type(config.scheme)(), parallel=ParallelConfig(), nets={})
    return _plan(plain, data, lambda *of: _worked_out(*of)[0])


def _plan(config: Config, data: DataSet, plan_net: PlanNet) -> Plan:
    task = _task_of(config, data)
    if refuse_nets(config, task):
        return _plan_of_nets(config, data, task, plan_net)
    return plan_net(config, data, task, None)


def _task_of(config: Config, data: DataSet) -> str:
    """Raises `ConfigError` if it does not fit the data, whatever the model."""
    if config.data.batch_size > len(data.train):
        raise ConfigError(
            f"data.batch_size: {config.data.batch_size} is larger than the {len(data.train)} "
            f"training examples of {data.name}"
        )
    refuse_minibatches(config, data)
    refuse_plateau(config, data)
    task = config.task or data.task
    refuse_adversary(config, data, task, data.example)
    objective = make_task(task, config.objective)
    misfit = objective.misfit(data.task, data.example) or objective.unsuited(data.train.x)
    if misfit is not None:
        remedy = "; data.options.task says of which its targets are" if asks_for_task(data.name) else ""
        raise ConfigError(f"task: {task} does not fit {data.name}: {misfit}{remedy}")
    if objective.couples:
        refuse_parts(config, task)
    check_chosen(config.metrics, type(objective), data.example.n_outputs)
    if weigh(data.train.extras.get(WEIGHT)) and config.parallel.schedule != "locked":
        raise ConfigError(
            f"parallel.schedule: {config.parallel.schedule} hands on outputs and targets alone, and {data.name} weighs "
            f"its examples; use locked"
        )
    return task


def _plan_of_nets(config: Config, data: DataSet, task: str, plan_net: PlanNet) -> Plan:
    """One after the other; the whole has the modules of all of them, in this order."""
    engine = engine_of_nets(config)
    names = MODELS.facts(config.model["name"])["nets"]
    plans = {net: plan_net(config_of(config, net), data, task, net) for net in names}
    objective = make_task(task, config.objective)
    learns = check_phases(config, data.example, objective, {net: plan.specs for net, plan in plans.items()})
    plans = {net: replace(plan, phases=learns[net]) for net, plan in plans.items()}
    first, *_ = plans.values()
    return replace(
        first,
        lag=max(plan.lag for plan in plans.values()),
        config=config,
        engine=engine,
        specs=[spec for plan in plans.values() for spec in plan.specs],
        costs=[cost for plan in plans.values() for cost in plan.costs],
        costs_beside=[cost for plan in plans.values() for cost in plan.costs_beside],
        parameters=[n for plan in plans.values() for n in plan.parameters],
        weights={f"{net}.{key}": shape for net, plan in plans.items() for key, shape in plan.weights.items()},
        net=None,
        phases=(),
        nets=plans,
    )


def _rehearsed(config: Config, data: DataSet, task: str, name: str | None, turns: Turns | None = None) -> Plan:
    plan, blocks = _worked_out(config, data, task, name, turns)
    refuse_bounded(config, data, task, name, blocks)
    plan.make_engine().refuse_here(config)
    rehearse(config, blocks, plan.specs)
    if name is None:  # the losses of several nets are those of phases, which are tried when these are checked
        rehearse_task(plan, data, blocks)
    return plan


def _worked_out(
    config: Config, data: DataSet, task: str, name: str | None, turns: Turns | None = None
) -> tuple[Plan, list[nn.Module]]:
    """The plan of one net (`name`: of several), and blocks for passes in training mode."""
    objective, example = make_task(task, config.objective), data.example
    if name is not None:
        with torch.device("meta"):
            example = example_of(config, example, name)
    net = Net(config, data.example, name)
    refuse_unready(config, net.meta)
    blocks = net.blocks
    with net.device:
        shapes = shapes_of(config, data, blocks, example)
        costs = block_costs(blocks, example.in_shape, example)
    refuse_output(config, data, task, shapes[-1], example, whole=name is None)
    refuse_blocks(config, data, task, blocks)
    # balanced over modules; the sums of workers that hold several are not looked at
    beside = costs_of_scheme(config, objective, blocks, shapes, example, net.device)
    ties = ties_of(config, net.blocks, example) if config.parallel.modules > 1 else []
    sizes = sizes_of(config, costs, beside, ties)
    refuse_sizes(config, blocks, sizes)
    refuse_parted(sizes, ties)
    if config.parallel.schedule != "locked":
        refuse_uncuttable(config.parallel.schedule, blocks)
    stops = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    error_shape = SCHEMES.get(config.scheme.name).error_shape(config, blocks, stops, example)
    # the task speaks of the whole, and may take outputs of several shapes
    if error_shape is None and (name is not None or shapes[-1] != objective.output_shape(example)):
        error_shape = shapes[-1]
    specs = specs_of(sizes, blocks, shapes, example, error_shape, turns)
    try:
        refused = SCHEMES.get(config.scheme.name).refuse(config, objective, blocks, specs)
    except ConfigError as error:
        raise ConfigError(in_one_line(str(error))) from None
    if refused is not None:
        raise ConfigError(f"scheme.name: {config.scheme.name} {in_one_line(refused)}")
    refuse_shared(blocks, specs)
    names = [f"{i}.{name}" for i, block in enumerate(blocks) for name, _ in block.named_parameters()]
    refuse_strangers(config.optimizer.groups, names, config.model["name"])
    refuse_misstep(config.optimizer)
    if config.parallel.schedule in SPLIT_BACKWARD:
        refuse_unsplittable(config.parallel.schedule, net.real, specs, DTYPES[config.train.precision])
    carries = bool(carrying(blocks))
    steps_per_epoch = _steps_per_epoch(config, data, carries)
    lag = _lag(config, len(specs), config.train.steps or steps_per_epoch * config.train.epochs)
    plan = Plan(
        config=config,
        task=task,
        example=data.example,
        specs=specs,
        costs=costs,
        costs_beside=[0.0 if spec.is_last else beside[spec.stop - 1] for spec in specs],
        parameters=count_parameters(blocks),
        weights=net.weights(),
        lag=lag,
        engine=engine_name(config.parallel),
        n_train=len(data.train),
        steps_per_epoch=steps_per_epoch,
        carries=carries,
        finding=finding(blocks) if name is None else [],
        ties=tuple(ties),
        net=name,
    )
    return plan, net.for_training(shapes)


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


def _steps_per_epoch(config: Config, data: DataSet, carries: bool) -> int:
    """Minibatches of a pass over the data (of the first level of a curriculum)."""
    each = data.stretch if carries and data.stretch is not None else 1  # rows of an episode follow each other
    return len(data.train) // each // config.data.batch_size * each
