"""What a stack of Boltzmann machines shows: what it dreams of, and what its hidden units look for."""

from __future__ import annotations

from pathlib import Path

import torch

from unlocked.drawing import pictures
from unlocked_models.boltzmann import RBM
from unlocked_models.contract.chain import Chain

PER_ROW = 10
MOST_FIELDS = 50  # hidden units whose weights are drawn


def machines(chain: Chain) -> list[RBM]:
    return [block for block in chain if isinstance(block, RBM)]


def samples(chain: Chain, shape: tuple[int, ...], path: Path, rows: int, steps: int, seed: int) -> Path:
    """p(v | h) after `steps` of Gibbs sampling in the top machine, which begin at noise, down through those below."""
    *below, top = machines(chain)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        v = torch.bernoulli(torch.full((rows * PER_ROW, len(top.visible_bias)), 0.5), generator=generator)
        v = v.to(top.weight.dtype)
        for _ in range(steps):
            v = top.gibbs(v, generator)
        v = top.reconstruction(v)
        for block in reversed(below):
            v = block.down(v)
    made = list(v.view(-1, *shape).double().numpy())
    each = [made[i : i + PER_ROW] for i in range(0, len(made), PER_ROW)]
    return pictures.examples(each, path, f"Samples after {steps} steps", (0.0, 1.0))


def fields(chain: Chain, shape: tuple[int, ...], path: Path) -> Path:
    """The weights between the data and hidden units of the lowest machine."""
    first, *_ = machines(chain)
    W = first.weight.detach().double()[:MOST_FIELDS].view(-1, *shape).numpy()
    most = float(abs(W).max())
    each = [list(W[i : i + PER_ROW]) for i in range(0, len(W), PER_ROW)]
    return pictures.examples(each, path, "Weights of hidden units", (-most, most))
