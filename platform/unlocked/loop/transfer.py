"""Weights that a run begins with: the first blocks of another run, or all of its nets (transfer), parts that are runs
of their own, those of a plain file, word vectors, those that blocks find in the data, or pre-trained ones.

They are worked out once and kept in the run folder (`initial.safetensors`), so a run goes on without the other, and its
workers, here or on Ray, are given them as any other weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.loop.blocks_of_runs import Weights, by_block, in_order, misfit, refuse_several_nets, weights_of_run
from unlocked.loop.found import found_in
from unlocked.loop.parts import weights_with_parts, with_parts
from unlocked.loop.vectors import weights_with_vectors, with_vectors
from unlocked.loop.weights_file import weights_of_file, with_file
from unlocked.plan.blocks import build_blocks, named_weights
from unlocked.plan.make import make_plan
from unlocked.plan.plan import Plan
from unlocked.plan.pretraining import plan_pretraining
from unlocked.runs.checkpoint import read_weights, write_weights
from unlocked_models.contract.chain import Chain


def plan_run(config: Config, data: DataSet) -> Plan:
    """The plan of a new run, whose configuration says how many blocks it begins with, checked against where they come
    from: what is written into the run folder, so that a resumed run needs nothing else.

    Raises `ConfigError` if the other run has no weights, or too few of its blocks fit.
    """
    plan = make_plan(config, data)
    return replace(plan, config=_resolved(plan, data))


def _resolved(plan: Plan, data: DataSet) -> Config:
    config = plan.config
    if config.transfer.vectors is not None:
        return with_vectors(plan, data)
    if config.transfer.file is not None:
        return with_file(plan)
    if config.transfer.parts:
        return with_parts(plan)
    if config.pretrain.epochs:
        turns = plan_pretraining(config, data).specs[0].turns
        assert turns is not None
        return replace(config, pretrain=replace(config.pretrain, blocks=turns.blocks[-1] + 1))
    if config.transfer.run is None:
        return config
    source, theirs = _source(config)
    if plan.nets:
        _refuse_misfit(plan, source, theirs)
        return _with_blocks(config, None)
    refuse_several_nets(source, theirs, "transfer.run", config.model["name"])
    mine = by_block(plan.weights)
    n, asked = len(plan.parameters), config.transfer.blocks
    if asked is not None and asked > n:
        raise ConfigError(f"transfer.blocks: {asked} is more than the {n} blocks of {config.model['name']}")
    found = by_block({key: tuple(value.shape) for key, value in theirs.items()})
    for i in range(n - 1 if asked is None else asked):
        why = misfit(mine.get(i, {}), found.get(i, {}))
        if why is None:
            continue
        if asked is None and i > 0:
            return _with_blocks(config, i)
        raise ConfigError(
            f"transfer.{'run' if asked is None else 'blocks'}: block {i} of {source} does not fit block "
            f"{i} of {config.model['name']} as configured: {why}"
        )
    if asked == n and config.transfer.freeze:
        raise ConfigError(
            f"transfer.freeze: true with all {n} blocks of {config.model['name']} leaves nothing to learn"
        )
    return _with_blocks(config, asked or n - 1)


def _refuse_misfit(plan: Plan, source: Path, theirs: Weights) -> None:
    """Raises `ConfigError` unless the other run has every net, with the same weights."""
    given = {key: tuple(value.shape) for key, value in theirs.items()}
    for key in dict.fromkeys([*plan.weights, *given]):
        here, there = plan.weights.get(key), given.get(key)
        if here != there:
            raise ConfigError(
                f"transfer.run: {source} does not fit {plan.config.model['name']} as configured: {key} is "
                f"{there or 'missing'} there, {here or 'missing'} here"
            )


def initial_weights(
    plan: Plan, data: DataSet, run_dir: Path, pretrain: Callable[[], Weights], note: Callable[[str], None]
) -> Weights | None:
    """Of the whole chain; None if the run begins with weights drawn from its seed.

    Args:
        pretrain: runs the first segment, if the run has one.
        note: takes a line for the person who watches.
    """
    config = plan.config
    transfer = config.transfer
    elsewhere = any((transfer.run, transfer.parts, transfer.vectors, transfer.file)) or config.pretrain.epochs
    if not elsewhere and not plan.finding:
        return None
    path, sums = run_dir / "initial.safetensors", run_dir / "initial.sha256"
    if path.exists():
        return read_weights(path, sums)
    if config.pretrain.epochs:
        weights = pretrain()
        note(
            f"pre-trained {config.pretrain.blocks} blocks by {config.pretrain.scheme}, {config.pretrain.epochs} epochs"
        )
    elif config.transfer.vectors is not None:
        weights, line = weights_with_vectors(plan, data)
        note(line)
    elif transfer.file is not None:
        weights, line = weights_of_file(plan)
        note(line)
    elif transfer.parts:
        weights, line = weights_with_parts(plan, data)
        note(line)
    elif not elsewhere:
        weights = found_in(plan, data)
    else:
        weights = _transferred(plan)
        blocks = f"the first {config.transfer.blocks} blocks" if config.transfer.blocks else "all nets"
        note(f"begins with {blocks} of {config.transfer.run}" + (", frozen" if config.transfer.freeze else ""))
    write_weights(weights, path, sums)
    return weights


def _transferred(plan: Plan) -> Weights:
    if plan.nets:
        theirs = _source(plan.config)[1]
        return {key: theirs[key].to(value.dtype) for key, value in named_weights(plan).items()}
    weights = Chain(build_blocks(plan.config, plan.example)).state_dict()
    mine, others = by_block(weights), by_block(_source(plan.config)[1])
    for i in range(plan.config.transfer.blocks or 0):
        for (key, _), new in zip(in_order(mine.get(i, {})), in_order(others.get(i, {})), strict=True):
            weights[key].copy_(new[1])  # in place: a tied weight is that of two names
    return {key: value.clone() for key, value in weights.items()}


def _source(config: Config) -> tuple[Path, Weights]:
    assert config.transfer.run is not None
    return weights_of_run(config.transfer.run, "transfer.run")


def _with_blocks(config: Config, blocks: int | None) -> Config:
    run = str(Path(config.transfer.run or "").absolute())
    return replace(config, transfer=replace(config.transfer, run=run, blocks=blocks))
