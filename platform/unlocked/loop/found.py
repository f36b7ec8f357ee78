"""Weights that blocks find in the training data before a run: the centres of radial basis functions, say.

A block with a method `begin_from(x, seed)` is given the training examples as they reach it, `(n, ...)`, once; it sets
its weights, or raises `ValueError`, one line.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan
from unlocked.seeding import derive_seed
from unlocked_models.contract.chain import Chain

AT_ONCE = 1000


def found_in(plan: Plan, data: DataSet, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights of the whole chain; `weights`: those that it has before. Raises `ConfigError`, one line, for what a
    block refuses."""
    blocks, x = build_blocks(plan.config, plan.example), data.train_shown.x.cpu()
    if weights is not None:
        Chain(blocks).load_state_dict(weights)
    for i in plan.finding:
        below = Chain(blocks[:i]).eval()
        with torch.inference_mode():
            seen = torch.cat([below(part, None) for part in x.split(AT_ONCE)]) if i else x
        try:
            blocks[i].begin_from(seen.clone(), derive_seed(plan.config.seed, "begin", i))  # type: ignore[operator]
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return Chain(blocks).state_dict()
