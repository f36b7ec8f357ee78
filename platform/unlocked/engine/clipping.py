"""Clipping by the norm over all modules of a net (`optimizer.clip_global`): gradients wait until all are there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from unlocked.engine.module import ModuleRunner
from unlocked.plan.plan import Plan


def clipping(plan: Plan, modules: Sequence[ModuleRunner], group: Any = None) -> Clipping | None:
    """None if the configuration asks for none, or a module is all of its net and clips by itself."""
    return Clipping(plan, modules, group) if plan.config.optimizer.clip_global and plan.modules > 1 else None


class Clipping:
    """Called after every minibatch: takes the norm over all modules, and steps those that this process holds.

    Args:
        group: the process group of all workers of this replica; None if the modules are all here.
    """

    def __init__(self, plan: Plan, modules: Sequence[ModuleRunner], group: Any):
        self._learners, self._count = [module.learner for module in modules], plan.modules
        self._device, self._group = modules[0].device, group
        for learner in self._learners:
            learner.steps_within = True

    def __call__(self) -> None:
        norms = torch.zeros(self._count, dtype=self._learners[0].dtype, device=self._device)
        for learner in self._learners:
            own = learner.own_norm()
            if own is not None:
                norms[learner.spec.index] = own
        if self._group is not None:
            begin = time.perf_counter()
            torch.distributed.all_reduce(norms, group=self._group)  # of zeros and one number each: exact
            self._learners[0].averaging_seconds += time.perf_counter() - begin
        norm = torch.linalg.vector_norm(norms)
        for learner in self._learners:
            learner.step_within(norm)
