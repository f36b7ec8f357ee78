"""Whether an optimiser moves every number of a weight by that number's own gradients alone."""

from __future__ import annotations

import torch
from torch import nn

from unlocked.optim.registry import build_optimizer
from unlocked.schema.keys import OptimizerConfig


def moves_numbers_alone(config: OptimizerConfig) -> bool:
    """Then a weight can be cut anywhere; measured, on a matrix and on two pieces of it.

    >>> [moves_numbers_alone(OptimizerConfig(name)) for name in ("adam", "sgd", "muon")]
    [True, True, False]
    """
    start = torch.linspace(-1.0, 1.0, 24).reshape(4, 6)
    whole = nn.Parameter(start.clone())
    pieces = [nn.Parameter(start.flatten()[:9].clone()), nn.Parameter(start.flatten()[9:].clone())]
    try:
        ours, theirs = build_optimizer(config, [whole]), build_optimizer(config, pieces)
        for step in range(3):
            gradient = (start * (step + 1.0)).sin().flatten()
            whole.grad = gradient.reshape(4, 6).clone()
            pieces[0].grad, pieces[1].grad = gradient[:9].clone(), gradient[9:].clone()
            ours.step()
            theirs.step()
    except Exception:  # a user's optimiser may raise anything; it will again, where it is trained with
        return False
    return torch.allclose(whole.detach().flatten(), torch.cat([piece.detach() for piece in pieces]), atol=1e-6)
