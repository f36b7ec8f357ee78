"""Learners whose modules no error of the output ever reaches."""

from __future__ import annotations

import torch
from torch import Tensor

from unlocked.schemes.alignment import Alignment
from unlocked.schemes.base import ModuleLearner


class WithoutError(ModuleLearner):
    """A probe of it sends zeros down and finds no alignment: there is no true gradient to compare with."""

    def probe_loss(self) -> tuple[Tensor, Tensor]:
        assert self._probe is not None
        zero = torch.zeros_like(self._probe.out)
        return zero, zero

    def probe_backward(self, delta: Tensor, e: Tensor) -> tuple[Tensor | None, Alignment | None]:
        below, _ = super().probe_backward(delta, e)
        return below, None
