"""Backpropagation: g_k = delta_k = dL/dh_k, exact. Over K modules it is *locked*: each waits for all above."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from unlocked.schemes.base import ModuleLearner, Ports, backward
from unlocked.schemes.registry import register_scheme
from unlocked_models.contract.batch import Batch


@register_scheme("backprop")
class Backprop(ModuleLearner):
    """The baseline. With one module, the ordinary loop: forward, loss, backward, step."""

    feedback_from = "above"
    passes_gradients = True
    pipelines = True
    exact = True
    why_no_lag: ClassVar[str | None] = "its update needs this minibatch's own gradient"

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        self.seed_step(t)
        self._h_in = h_in if self.spec.is_first else h_in.detach().requires_grad_()
        if self.spec.is_last:
            self.learn_from_loss(self._h_in, batch, ports)
            return
        self._h, self._local = self.run_chain(self._h_in, batch)
        ports.up(self._h.detach())

    def absorb(self, t: int, message: Tensor, ports: Ports) -> None:
        """`message` is delta_k of minibatch t; delta_{k-1} goes down before the weights move."""
        backward([self._h, self._local], [message, None])
        self.pass_down(self._h_in, ports)
        self.update()

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        return [None] * len(points)  # exact by construction: there is nothing to compare
