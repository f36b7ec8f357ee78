"""Models of several nets: the configuration and the example of each, and whether the task's phases fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from unlocked.blame import place
from unlocked.config import Config, with_values
from unlocked.config.schemes import flatten
from unlocked.engines import AUTO, ENGINES, HERE
from unlocked.errors import ConfigError, reason
from unlocked.plan.net import cannot_build
from unlocked.plan.plan import Plan
from unlocked.schemes import SCHEMES, ModuleSpec
from unlocked.seeding import derive_seed
from unlocked.tasks import TASKS, Task, make_task
from unlocked.tasks.phases import NET, Phase, fault
from unlocked_models.contract.batch import Example
from unlocked_models.contract.nets import nets_of
from unlocked_models.contract.registry import MODELS

# What several nets cannot have, and the reason: (holds, what it says).
_OF_ONE_NET = (
    (
        lambda c: SCHEMES.get(c.scheme.name).late_inputs(c),
        "scheme.synthetic_inputs: I guesses h of the minibatch, and a net is fed outputs of another or noise",
    ),
    (lambda c: c.scheme.time.synthetic, "scheme.time.synthetic: streams are of one net"),
    (lambda c: c.train.curriculum is not None, "train.curriculum: levels are of one net"),
    (lambda c: c.transfer.blocks is not None, "transfer.blocks: of several nets all blocks are taken; leave it null"),
    (lambda c: c.transfer.freeze, "transfer.freeze: of several nets all blocks are taken, and nothing would learn"),
    (lambda c: c.pretrain.epochs > 0, "pretrain.epochs: blocks are pre-trained in one net"),
)


def refuse_nets(config: Config, task: str) -> bool:
    """Whether the model has several nets; `ConfigError` if the task needs others, or a key is of one net alone."""
    model = config.model["name"]
    nets, needed = MODELS.facts(model)["nets"], TASKS.get(task).nets
    if tuple(sorted(nets or (NET,))) != tuple(sorted(needed)):
        has = f"the nets {', '.join(nets)}" if nets else "one net"
        needs = f"the nets {', '.join(needed)}" if needed != (NET,) else "a model of one net"
        raise ConfigError(f"model.name: {model} has {has}; the task {task} needs {needs}")
    for holds, words in _OF_ONE_NET if nets else ():
        if holds(config):
            raise ConfigError(f"{words} (model.name: {model})")
    return bool(nets)


def engine_of_nets(config: Config) -> str:
    """The engine's name; raises `ConfigError` for one that takes models of one net alone."""
    name = HERE if config.parallel.engine == AUTO else config.parallel.engine
    if ENGINES.get(name).nets_group is None:
        several = " and ".join(each for each in ENGINES if ENGINES.get(each).nets_group is not None)
        raise ConfigError(f"parallel.engine: {name} takes models of one net; {several} take several")
    return name


def config_of(config: Config, net: str) -> Config:
    """That of one net: `nets.NAME` laid over the run's, in process, with a seed of its own.

    `scheme.lag: auto` is 0: the nets of a step wait for each other whatever the lag of their modules.
    """
    own = flatten(config.nets.get(net) or {})
    given = replace(config, nets={}, parallel=replace(config.parallel, modules_per_worker=None))
    try:
        given = with_values(given, own, f"nets.{net}") if own else given
    except ConfigError as error:
        raise ConfigError(f"nets.{net}: {str(error).removeprefix(f'nets.{net}: ')}") from None
    for holds, words in _OF_ONE_NET:
        if holds(given):
            raise ConfigError(f"nets.{net}: {words}")
    return replace(
        given,
        seed=derive_seed(config.seed, "net", net),
        scheme=replace(given.scheme, lag=0 if given.scheme.lag == "auto" else given.scheme.lag),
        parallel=replace(given.parallel, engine=HERE),
    )


def example_of(config: Config, example: Example, net: str) -> Example:
    """One example of the input of a net; its targets are those of the data."""
    options = {key: value for key, value in config.model.items() if key != "name"}
    name = config.model["name"]
    try:
        nets = nets_of(name, example.in_shape, example.n_outputs, example=example, **options)
    except Exception as error:  # a user's model may raise anything
        raise ConfigError(cannot_build(name, error)) from None
    return replace(example, in_shape=nets[net].in_shape, vocabulary=None)


def check_phases(
    config: Config, example: Example, task: Task, specs: Mapping[str, Sequence[ModuleSpec]]
) -> dict[str, tuple[str, ...]]:
    """Names of the phases in which each net learns.

    Raises `ConfigError` for phases that cannot be run, or whose nets do not fit each other.
    """
    shapes = {net: its[0].in_shape for net, its in specs.items()}
    given, model = {net: its[-1].out_shape for net, its in specs.items()}, config.model["name"]
    phases, outcome = task.phases(shapes), task.outcome(shapes)
    wrong = fault(phases, tuple(specs))
    if wrong is not None:
        raise ConfigError(f"task: {wrong}")
    for phase in phases:
        _refuse_phase(config, phase, specs)
    for phase in [*phases, outcome]:
        try:
            batch = phase.feed(example.batch(2), torch.Generator())
            assert batch.x is not None
            came, source = tuple(batch.x.shape[1:]), "the minibatch"
            for net in phase.path:
                if came != shapes[net]:
                    raise ConfigError(
                        f"model.name: {net} of {model} takes inputs of shape {shapes[net]}; in phase {phase.name!r} "
                        f"{source} gives {came}"
                    )
                came, source = given[net], net
            output: Any = torch.zeros(2, *came, requires_grad=True)
            loss = phase.loss(output, batch) if phase.of_net is None else output.sum()
            if loss.dim() or not loss.requires_grad:
                raise ValueError(f"its loss is of shape {tuple(loss.shape)}, not one number that depends on the output")
        except ConfigError:
            raise
        except Exception as error:  # a user's task may raise anything
            at = place(error)
            problem = f"fails on two examples of zeros{f' at {at}' if at else ''}: {reason(error)}"
            raise ConfigError(f"task: phase {phase.name!r} {problem}") from None
    return {net: tuple(phase.name for phase in phases if net in phase.learns) for net in specs}


def refuse_idle(plan: Plan) -> None:
    """Raises `ConfigError` if the run ends before a phase has run once, so that a net would not learn from it."""
    shapes = {net: its.specs[0].in_shape for net, its in plan.nets.items()}
    for phase in make_task(plan.task, plan.config.objective).phases(shapes):
        if phase.every > plan.total_steps:
            raise ConfigError(
                f"train.epochs: phase {phase.name!r} of {plan.task} runs in one of {phase.every} steps, and the run "
                f"has {plan.total_steps}, so {', '.join(phase.learns)} would not learn by it; train for longer, or let "
                f"it run more often"
            )


def _refuse_phase(config: Config, phase: Phase, specs: Mapping[str, Sequence[ModuleSpec]]) -> None:
    """What schemes, cuts, lags and replicas cannot have of a phase."""
    if phase.replay and config.parallel.replicas > 1:
        raise ConfigError(
            f"parallel.replicas: each would replay outputs of its own in phase {phase.name!r}, and a checkpoint keeps "
            f"the state of one; set it to 1"
        )
    for net in phase.learns:
        of_net = config_of(config, net)
        lag, scheme = of_net.scheme.lag, of_net.scheme.name
        if phase.every > 1 and lag:
            raise ConfigError(
                f"scheme.lag: phase {phase.name!r} runs in one of {phase.every} steps, so a message of {lag} steps ago "
                f"may be of a pass that never was; set it to 0"
            )
        if phase.of_net is None:
            continue
        penalised = f"the loss of phase {phase.name!r} is of the gradient of {net} at its input"
        if not SCHEMES.get(scheme).chain_rule_inside:
            raise ConfigError(
                f"scheme.name: {scheme} cannot train {net}: {penalised}, a product of the Jacobians of all its layers, "
                f"and {scheme} computes no product of two of them"
            )
        if len(specs[net]) > 1:
            raise ConfigError(
                f"parallel.modules: {penalised}, a product of the Jacobians of all its layers whose derivative no "
                f"module can take alone; set nets.{net}.parallel.modules=1"
            )
