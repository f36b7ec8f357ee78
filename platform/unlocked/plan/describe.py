"""A plan as a table: what `--dry-run` prints."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unlocked.optim import state_size
from unlocked.plan.plan import Plan
from unlocked.schema.keys import OptimizerConfig
from unlocked.schemes import options_of
from unlocked.schemes.dni import DNI
from unlocked.schemes.inputs import make_input_model


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
