"""Parts of a net that were trained apart: each begins as the net of a run of its own (`transfer.parts`).

A part is the layers of one name in several blocks; the blocks of its run, in their order, become these.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.loop.blocks_of_runs import (
    Each,
    Weights,
    by_block,
    in_order,
    misfit,
    refuse_several_nets,
    weights_of_run,
)
from unlocked.loop.found import found_in
from unlocked.plan.blocks import named_weights
from unlocked.plan.plan import Plan
from unlocked_models.contract.registry import MODELS, unknown


def with_parts(plan: Plan) -> Config:
    """The configuration with whole paths. Raises `ConfigError`, one line, if a run is not one of its part."""
    config, model = plan.config, plan.config.model["name"]
    known = MODELS.facts(model)["parts"]
    if not known:
        able = ", ".join(name for name in MODELS if MODELS.facts(name)["parts"])
        raise ConfigError(f"transfer.parts: {model} has no parts that are nets of their own; models that have: {able}")
    for part, run in config.transfer.parts.items():
        if part not in known:
            raise ConfigError(f"transfer.parts: {unknown('part', part, known)}")
        source, theirs = weights_of_run(run, f"transfer.parts.{part}")
        refuse_several_nets(source, theirs, f"transfer.parts.{part}", model)
        mine = _of_part(plan.weights, part)
        found = _in_turn({key: tuple(value.shape) for key, value in theirs.items()})
        if len(found) != len(mine):
            raise ConfigError(
                f"transfer.parts.{part}: {source} has {len(found)} blocks with weights, {part} of {model} as "
                f"configured {len(mine)}"
            )
        for i, (here, there) in enumerate(zip(mine, found, strict=True)):
            why = misfit(here, there)
            if why is not None:
                raise ConfigError(
                    f"transfer.parts.{part}: block {i} of {source} does not fit block {i} of {part} of {model} as "
                    f"configured: {why}"
                )
    whole = {part: str(Path(run).absolute()) for part, run in config.transfer.parts.items()}
    return replace(config, transfer=replace(config.transfer, parts=whole))


def weights_with_parts(plan: Plan, data: DataSet) -> tuple[Weights, str]:
    """The weights of the whole net, and a line about them. Blocks that begin from data see the codes of the parts."""
    weights, transfer = named_weights(plan), plan.config.transfer
    for part, run in transfer.parts.items():
        theirs = weights_of_run(run, f"transfer.parts.{part}")[1]
        for mine, new in zip(_of_part(weights, part), _in_turn(theirs), strict=True):
            for (key, _), (_, value) in zip(in_order(mine), in_order(new), strict=True):
                weights[key].copy_(value)  # in place: a tied weight is that of two names
    line = "begins with " + ", ".join(f"{part} of {run}" for part, run in transfer.parts.items())
    if plan.finding:
        weights = found_in(plan, data, weights)
    return {key: value.clone() for key, value in weights.items()}, line + (", frozen" if transfer.freeze else "")


def _of_part(weights: dict[str, Each], part: str) -> list[dict[str, Each]]:
    return _in_turn({key: value for key, value in weights.items() if key.split(".")[1] == part})


def _in_turn(weights: dict[str, Each]) -> list[dict[str, Each]]:
    return [block for _, block in sorted(by_block(weights).items())]
