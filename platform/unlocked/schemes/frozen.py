"""Frozen: only the last module learns, the DNI paper's "no bprop" (Jaderberg et al. 2017, table 1).

The control of every comparison: the modules below keep their random weights (their batch norms still
follow the data), so a scheme that does not beat it has learned nothing.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.registry import register_scheme
from unlocked_models.contract.batch import Batch


@register_scheme("frozen")
class Frozen(ModuleLearner):
    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    alone_is_backprop: ClassVar[bool] = True

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        self.seed_step(t)
        if self.spec.is_last:
            self.learn_from_loss(h_in, batch, ports)
            return
        with torch.no_grad():
            h, _ = self.run_chain(h_in, batch)
        ports.up(h)
