"""Where a net is cut into modules: shapes between its blocks, the cost of each, the specs of the modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.chain import WRITING, block_costs
from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.plan.rehearsal import refuse_added, weights_of
from unlocked.schemes import SCHEMES, ModuleSpec
from unlocked.schemes.dni import DNI
from unlocked.schemes.sg import SyntheticGradient
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import output_shapes

# Over h_k, beside those of M's layers: scaling a prediction, comparing it with its target, the messages. A ResNet's
# synthetic gradients take the time of about this many (on maps they are little else).
SG_PASSES = 12


def shapes_of(config: Config, data: DataSet, blocks: Sequence[nn.Module], example: Example) -> list[tuple[int, ...]]:
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


def specs_of(
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


def sg_costs(config: Config, shapes: Sequence[tuple[int, ...]], where: torch.device) -> list[float] | None:
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
