"""What stands between a gradient and the step of the optimiser, and after it: clipping, penalties, noise, projection.

In this order, with w a weight and g its gradient at step t:

    clip_value   g = min(max(g, -c), c)
    clip_norm    g = g * min(1, c / |g|), |g| over the module
    clip_global  the same, |g| over all modules     Pascanu et al. 2013, arXiv 1211.5063, algorithm 1
    l1, l2       g = g + l1 sign(w) + l2 w          the gradients of l1 |w| and l2 w^2 / 2; both: elastic net
    noise        g = g + N(0, eta / (1 + t)^gamma)  Neelakantan et al. 2015, arXiv 1511.06807, equation 1
    (the optimiser's step)
    max_norm     the incoming weights of each unit are brought back to that length (Srivastava et al. 2014, section 5.1)

Penalties and max_norm are of weights with two axes or more: biases and the scales of norms are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlocked.schema.keys import OptimizerConfig
from unlocked.seeding import derive_seed, step_seed


class Gradients:
    """Of one module's parameters, whose `names` are those of the whole net: noise is drawn by name and step alone, so
    however the net is cut, and in every replica, it is the same."""

    def __init__(self, config: OptimizerConfig, seed: int, names: Sequence[str]):
        self._config = config
        self._seeds = [derive_seed(seed, "gradient noise", name) for name in names]

    def before(self, t: int, parameters: Sequence[nn.Parameter]) -> None:
        """Changes the gradients of the parameters, which are in the order of the names."""
        self.within(t, parameters, self.own_norm(parameters))

    def own_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor | None:
        """Clips as far as the module alone can; then the norm of its gradients `()`, if that of all modules clips."""
        c = self._config
        if c.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, c.clip_value)
        if c.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, c.clip_norm)
        if c.clip_global is None:
            return None
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def within(self, t: int, parameters: Sequence[nn.Parameter], norm: Tensor | None) -> None:
        """What follows, given the `norm` over all modules."""
        c = self._config
        if norm is not None and c.clip_global is not None:
            nn.utils.clip_grads_with_norm_(parameters, c.clip_global, norm)
        for p in parameters if c.l1 or c.l2 else ():
            if p.grad is None or p.dim() < 2:
                continue
            with torch.no_grad():
                if c.l1:
                    p.grad.add_(p.sign(), alpha=c.l1)
                if c.l2:
                    p.grad.add_(p, alpha=c.l2)
        if c.noise:
            deviation = (c.noise / (1 + t) ** c.noise_decay) ** 0.5
            for p, seed in zip(parameters, self._seeds, strict=True):
                if p.grad is not None:
                    generator = torch.Generator().manual_seed(step_seed(seed, t))
                    drawn = torch.randn(p.shape, generator=generator, dtype=p.dtype)
                    p.grad.add_(drawn.to(p.device), alpha=deviation)

    def after(self, parameters: Sequence[nn.Parameter]) -> None:
        """After the step."""
        longest = self._config.max_norm
        for p in parameters if longest is not None else ():
            if p.dim() >= 2:
                with torch.no_grad():
                    p.copy_(torch.renorm(p, 2, 0, longest))  # type: ignore[arg-type]


def changes(config: OptimizerConfig) -> bool:
    """Whether there is anything to do."""
    return bool(config.l1 or config.l2 or config.noise) or any(
        value is not None for value in (config.clip_value, config.clip_norm, config.clip_global, config.max_norm)
    )
