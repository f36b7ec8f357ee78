"""A plan as a table: what `--dry-run` prints."""

from __future__ import annotations

import math
from typing import Any

import torch

from unlocked.errors import ConfigError
from unlocked.optim import state_size
from unlocked.plan.plan import Plan


def describe(plan: Plan) -> list[dict[str, Any]]:
    """One row per module: blocks, parameters, share of the cost, memory; what `--dry-run` prints."""
    if plan.nets:
        rows = [row | {"net": net} for net, its in plan.nets.items() for row in describe(its)]
        return [row | {"worker": worker} for row, worker in zip(rows, plan.placement, strict=True)]
    total = sum(plan.costs) + sum(plan.costs_beside)
    width = 8 if plan.config.train.precision == "fp64" else 4
    batch = plan.config.data.batch_size // plan.config.parallel.replicas
    rows, task = [], plan.make_task()
    shares = plan.make_engine().shares(plan.config)
    held = shares.weights + shares.gradients + shares.copies
    for spec in plan.specs:
        parameters = sum(plan.parameters[spec.start : spec.stop])
        with torch.device("meta"):
            beside = plan.scheme.beside(plan.config, spec, task)
        each_phase = len(plan.phases) or 1  # has models of its own
        sizes = {name: each_phase * sum(p.numel() for p in each.model.parameters()) for name, each in beside.items()}
        # weights, gradients, optimiser state
        copied = parameters * (held + shares.states * state_size(plan.config.optimizer)) if parameters else 0.0
        copied += sum(
            sizes[name] * (held + shares.states * state_size(each.optimizer)) for name, each in beside.items()
        )
        copied += _whole(plan, spec.start, spec.stop, shares.whole_below)
        kept = plan.scheme.memory(plan.config, spec, batch, plan.lag * each_phase)
        rows.append(
            {
                "net": None,
                "module": spec.index,
                "worker": plan.placement[spec.index],
                "blocks": f"{spec.start}-{spec.stop - 1}",
                "parameters": parameters,
                "beside": sizes,
                "cost_share": (sum(plan.costs[spec.start : spec.stop]) + plan.costs_beside[spec.index]) / total,
                "memory_bytes": round(width * (copied + kept)),
                "out_shape": spec.out_shape,
            }
        )
    return rows


def _whole(plan: Plan, start: int, stop: int, below: int) -> int:
    """Numbers of the weights of blocks start..stop-1 that have fewer than `below` each."""
    sizes = (math.prod(shape) for key, shape in plan.weights.items() if start <= int(key.partition(".")[0]) < stop)
    return sum(size for size in sizes if size < below)


def refuse_memory(plan: Plan) -> None:
    """Raises `ConfigError` if a worker would hold more than its declared memory."""
    budget, needs = plan.config.parallel.memory, dict[int, float]()
    if budget is None:
        return
    for row in describe(plan):
        needs[row["worker"]] = needs.get(row["worker"], 0.0) + row["memory_bytes"] / 2**20
    worker, need = max(needs.items(), key=lambda each: each[1])
    if need > budget:
        raise ConfigError(
            f"parallel.memory: {budget:g} MiB, but worker {worker} would hold {need:.1f} MiB of weights, gradients, "
            f"optimiser states and kept boundaries; more parallel.modules cut it, ZeRO shares it out over "
            f"parallel.replicas"
        )
