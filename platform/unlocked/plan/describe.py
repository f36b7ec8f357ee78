"""A plan as a table: what `--dry-run` prints."""

from __future__ import annotations

from typing import Any

import torch

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
    for spec in plan.specs:
        parameters = sum(plan.parameters[spec.start : spec.stop])
        with torch.device("meta"):
            beside = plan.scheme.beside(plan.config, spec, task)
        each_phase = len(plan.phases) or 1  # has models of its own
        sizes = {name: each_phase * sum(p.numel() for p in each.model.parameters()) for name, each in beside.items()}
        # weights, gradients, optimiser state
        copied = parameters * (2 + state_size(plan.config.optimizer)) if parameters else 0.0
        copied += sum(sizes[name] * (2 + state_size(each.optimizer)) for name, each in beside.items())
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
