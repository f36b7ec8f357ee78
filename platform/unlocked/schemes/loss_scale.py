"""Loss scaling: gradients that float16 can hold in the backward pass of one module.

Micikevicius et al. 2018, "Mixed Precision Training" (arXiv:1710.03740), section 3.2; begun, raised and lowered as
`torch.amp.GradScaler` does. Each module scales by itself: what enters its backward pass is multiplied, and what leaves
it, at its weights and its input, is divided. So messages are true gradients, and the scheme above does not notice.
Factors are powers of two, which float32 multiplies by without error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

FIRST = 2.0**16
LOWEST, HIGHEST = 2.0**-100, 2.0**100  # which float32 can divide by
RAISED_AFTER = 2000  # steps without an overflow


class LossScale:
    """Of one module.

    Args:
        weights: leaves whose gradients are divided before they are added up.
    """

    def __init__(self, weights: Iterable[nn.Parameter]):
        self.factor = FIRST
        self._steps = 0  # since the factor last changed
        for p in weights:
            p.register_hook(self._divided)

    def entering(self, h: Tensor) -> Tensor:
        """The same, whose gradient is multiplied on its way in; by the factor of that time, not of this pass."""
        return _scaled(h, self, 1)

    def leaving(self, h: Tensor) -> Tensor:
        """The same, whose gradient is divided on its way out."""
        return _scaled(h, self, -1)

    def _divided(self, gradient: Tensor) -> Tensor:
        return gradient / self.factor

    def stepped(self, overflow: bool) -> None:
        """After every step of the optimiser, taken or left out."""
        self._steps += 1
        if overflow:
            self.factor, self._steps = max(self.factor / 2, LOWEST), 0
        elif self._steps == RAISED_AFTER:
            self.factor, self._steps = min(self.factor * 2, HIGHEST), 0

    def state(self) -> dict[str, Any]:
        return {"factor": self.factor, "steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.factor, self._steps = state["factor"], state["steps"]


def finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether all numbers are; waits for the device."""
    found = [each.isfinite().all() for each in tensors if each is not None]
    return not found or bool(torch.stack(found).all())


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, scale: LossScale, power: int) -> Tensor:
        ctx.scale, ctx.power = scale, power
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.scale.factor**ctx.power, None, None


def _scaled(h: Tensor, scale: LossScale, power: int) -> Tensor:
    out: Tensor = _Scaled.apply(h, scale, power)  # type: ignore[no-untyped-call]
    return out
