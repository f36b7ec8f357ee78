"""Where a net is cut into modules: shapes between its blocks, the cost of each, the specs of the modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.plan.rehearsal import refuse_added, weights_of
from unlocked.schemes import SCHEMES, ModuleSpec, Turns
from unlocked.tasks import Task
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import encodes, output_shapes


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
    sizes: Sequence[int],
    blocks: Sequence[nn.Module],
    shapes: Sequence[tuple[int, ...]],
    example: Example,
    error_shape: tuple[int, ...] | None,
    turns: Turns | None = None,
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
                block_shapes=tuple(shapes[start:stop]),
                turns=turns,
                apart=encodes(blocks[stop - 1]),
            )
        )
        start = stop
    return specs


def costs_of_scheme(
    config: Config,
    task: Task,
    blocks: Sequence[nn.Module],
    shapes: Sequence[tuple[int, ...]],
    example: Example,
    where: torch.device,
) -> list[float]:
    """Of what the scheme computes beside a module that ends after each block and is not the last; a cut counts it."""
    if config.parallel.modules == 1:
        return [0.0] * len(blocks)
    scheme = SCHEMES.get(config.scheme.name)
    with where, torch.random.fork_rng(devices=[]):
        return [
            scheme.cost(
                config,
                ModuleSpec(
                    0, 2, 0, stop, len(blocks), example.in_shape, shape, example, apart=encodes(blocks[stop - 1])
                ),
                task,
            )
            for stop, shape in enumerate(shapes, 1)
        ]
