"""Nets and data that no plan can be made of, each refused in one line."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import nn
from torch.nn.parameter import is_lazy

from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.data.easy_first import difficulty_of
from unlocked.errors import ConfigError, DataError
from unlocked.metrics import higher_is_better
from unlocked.optim import searches
from unlocked.plan.plan import Plan, first_level, load_data
from unlocked.schemes import SCHEMES, ModuleSpec
from unlocked.tasks import TASKS, make_task
from unlocked.tasks.base import ANY
from unlocked.tasks.losses import PerExample
from unlocked.tasks.phases import NET
from unlocked_models.contract.batch import Example
from unlocked_models.contract.bounds import bounds_of, last_layer
from unlocked_models.contract.chain import carrying
from unlocked_models.contract.registry import MODELS

ROUNDING = 1e-5  # of values that were scaled to end where those of a last layer do


def refuse_unready(config: Config, blocks: Sequence[nn.Module]) -> None:
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


def refuse_minibatches(config: Config, data: DataSet) -> None:
    """Under an optimiser that needs the same loss at every step."""
    name, rows, batch = config.optimizer.name, len(data.train), config.data.batch_size
    if searches(name) and batch != rows:
        raise ConfigError(
            f"optimizer.name: {name} compares losses and gradients of one function, and every minibatch has another; "
            f"set data.batch_size={rows}, all training examples of {data.name}"
        )


def refuse_plateau(config: Config, data: DataSet) -> None:
    """A schedule by evaluations without a split to evaluate."""
    if config.optimizer.schedule == "plateau" and data.validation is None:
        raise ConfigError(
            f"optimizer.schedule: plateau follows the validation metric, and {data.name} has no validation split; set "
            f"data.validation above 0"
        )


def refuse_output(
    config: Config, data: DataSet, task: str, shape: tuple[int, ...], example: Example, whole: bool
) -> None:
    """Outputs that the task does not take; of one of several nets (not the `whole`) its phases speak."""
    objective = make_task(task, config.objective)
    if whole and not objective.takes_output(shape, example):
        raise ConfigError(
            f"model.name: {config.model['name']} gives outputs of shape {shape}, {task} of "
            f"{data.name} needs {objective.output_shape(example)}"
        )


def refuse_bounded(config: Config, data: DataSet, task: str, net: str | None, blocks: Sequence[nn.Module]) -> None:
    """A last layer whose values cannot be those that outputs are compared with: such a net never learns its targets."""
    layer = last_layer(blocks)
    bounds = bounds_of(layer)
    if bounds is None:
        return
    wanted = make_task(task, config.objective).compared(data).get(net or NET)
    if wanted is None or (bounds[0] - ROUNDING <= wanted[0] and wanted[1] <= bounds[1] + ROUNDING):
        return
    model = config.model["name"]
    optional = "output" in inspect.signature(MODELS.get(model)).parameters
    of = model if net is None else f"the {net} of {model}"
    why = (
        f"and {task} compares them with values of {data.name} from {wanted[0]:.3g} to {wanted[1]:.3g}"
        if wanted != ANY
        else f"and {task} takes logits, of any value"
    )
    remedy = "set model.output=linear" if optional else "end it with a linear layer"
    raise ConfigError(
        f"model.{'output' if optional else 'name'}: {of} ends with a {type(layer).__name__}, whose values lie from "
        f"{bounds[0]:g} to {bounds[1]:g}, {why}; {remedy}{'' if wanted == ANY else ', or scale the data'}"
    )


def refuse_blocks(config: Config, data: DataSet, task: str, blocks: Sequence[nn.Module]) -> None:
    """Blocks that fit neither the task, nor the order of the data, nor the number of modules."""
    model = config.model["name"]
    unfit = make_task(task, config.objective).unfit(blocks)
    if unfit is not None:
        raise ConfigError(f"model.name: {model} {unfit}")
    carries = bool(carrying(blocks))
    if carries and not data.ordered:
        raise ConfigError(
            f"model.carry: {model} goes on where the last minibatch ended, but the "
            f"examples of {data.name} do not follow each other"
        )
    if carries and config.train.recompute:
        raise ConfigError(
            f"train.recompute: true, but layers of {model} go on where the last minibatch ended (model.carry), from "
            f"where no pass can be repeated; set model.carry=false"
        )
    if config.data.easy_first is not None:
        if config.data.easy_by == "data" and difficulty_of(data.train) is None:
            raise ConfigError(
                f"data.easy_first: {data.name} does not say how hard its examples are; give them an extra `difficulty` "
                "of a number each, or set data.easy_by=loss"
            )
        if carries:
            raise ConfigError(
                f"data.easy_first: would draw the examples of {data.name}, which model.carry reads in their order"
            )
    if config.data.easy_by == "loss":
        _refuse_order(config, task)
    if config.train.curriculum is not None:
        _refuse_curriculum(config, data)
    if config.scheme.time.synthetic and not carries:
        raise ConfigError(
            f"scheme.time.synthetic: true, but no layer of {model} goes on where the last "
            f"minibatch ended (recurrent models: model.carry=true)"
        )
    if config.parallel.modules > len(blocks):
        raise ConfigError(
            f"parallel.modules: {config.parallel.modules} is more than the {len(blocks)} blocks of {model} "
            f"as configured"
        )


def refuse_sizes(config: Config, blocks: Sequence[nn.Module], sizes: Sequence[int]) -> None:
    if sum(sizes) != len(blocks):
        raise ConfigError(
            f"parallel.partition: {list(sizes)} covers {sum(sizes)} blocks, {config.model['name']} has "
            f"{len(blocks)}; null balances them"
        )


def refuse_shared(blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> None:
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


def refuse_adversary(config: Config, data: DataSet, task: str, example: Example) -> None:
    """Data and losses for which there is no worst input within reach."""
    if config.train.adversary.attack == "none":
        return
    why = f"train.adversary.attack: {config.train.adversary.attack}"
    if not data.train.x.is_floating_point():
        raise ConfigError(f"{why} moves inputs a little, and those of {data.name} are ids, which have no neighbours")
    if example.has_lengths:
        raise ConfigError(f"{why} would move the padding of {data.name}, whose examples are of different lengths")
    if not issubclass(TASKS.get(task), PerExample):
        raise ConfigError(f"{why} moves an input under its target, and the loss of {task} is not of one of each")


def refuse_parts(config: Config, task: str) -> None:
    """Of a task whose loss couples examples: it is of no part of a minibatch."""
    if config.data.batch_size < 2:
        raise ConfigError(
            f"data.batch_size: {config.data.batch_size} leaves an example nothing to be compared with, and the loss of "
            f"{task} couples the examples of a minibatch; take at least 2"
        )
    parallel, why = config.parallel, f"would share out a minibatch, whose examples the loss of {task} couples"
    if parallel.replicas > 1:
        raise ConfigError(f"parallel.replicas: {parallel.replicas} {why}; set it to 1")
    if parallel.schedule != "locked":
        raise ConfigError(f"parallel.schedule: {parallel.schedule} {why}; set it to locked")


def _refuse_order(config: Config, task: str) -> None:
    """By losses that no example has alone, or of minibatches that are read again when another order holds."""
    why = "data.easy_by: loss"
    if config.data.easy_first is None:
        raise ConfigError(f"{why} needs data.easy_first, the share of the run over which examples come in")
    if not issubclass(TASKS.get(task), PerExample):
        raise ConfigError(f"{why}, but the loss of {task} is not of one example each; leave it out")
    if SCHEMES.get(config.scheme.name).late_inputs(config):
        raise ConfigError(
            f"{why}: with scheme.synthetic_inputs minibatches are read again, late, when another order may hold"
        )


def refuse_again(plan: Plan) -> None:
    """Raises `ConfigError` if examples that are to be seen once would be seen again, or left out at the end."""
    config, why = plan.config, SCHEMES.get(plan.config.scheme.name).why_once
    if why is None:
        return
    if plan.total_steps > plan.steps_per_epoch:
        if config.train.steps is None:
            raise ConfigError(f"train.epochs: {config.train.epochs}, but {why}; set train.epochs=1")
        raise ConfigError(
            f"train.steps: {config.train.steps} steps see examples again after {plan.steps_per_epoch}, but {why}; set "
            f"train.steps=null and train.epochs=1"
        )
    if plan.n_train % config.data.batch_size:
        raise ConfigError(
            f"data.batch_size: {config.data.batch_size} leaves out {plan.n_train % config.data.batch_size} of the "
            f"{plan.n_train} examples, but {why}; set 1, or a divisor of {plan.n_train}"
        )


def _refuse_curriculum(config: Config, data: DataSet) -> None:
    """A later level must be the same kind of data, and late messages about the one before it must need no data."""
    climbs = TASKS.get(data.task).climbs
    if climbs is None:
        raise ConfigError(f"train.curriculum: it follows val/bits, which {data.task} does not have")
    solved = config.train.curriculum
    if solved is not None and solved <= 0 and not higher_is_better(f"val/{climbs}"):
        raise ConfigError(
            f"train.curriculum: must be greater than 0, below which val/{climbs} never fall; got {solved:g}"
        )
    if data.validation is None:
        raise ConfigError(f"train.curriculum: it follows val/{climbs}, and data.validation is 0")
    if SCHEMES.get(config.scheme.name).late_inputs(config):
        raise ConfigError(
            "train.curriculum: with scheme.synthetic_inputs minibatches are read again, late, when "
            "another level may have begun"
        )
    level = first_level(config)
    try:
        following = load_data(config, level + 1).example
    except DataError as error:
        raise ConfigError(
            f"train.curriculum: {data.name} has no level after {level}, at which this run begins ({error}); begin at a "
            f"lower data.options.level, or set train.curriculum=null"
        ) from None
    if following != data.example:
        raise ConfigError(
            f"train.curriculum: examples of {data.name} at level {level + 1} are not of the shape of "
            f"those at {level}; data.options.window cuts them into rows of one length"
        )
