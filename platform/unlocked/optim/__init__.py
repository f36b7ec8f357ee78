"""Optimisers by name (`registry`, `kinds`), and learning rates as functions of the step (`rates`)."""

from unlocked.optim.gradients import Gradients, changes
from unlocked.optim.groups import refuse_strangers
from unlocked.optim.kinds import register_all
from unlocked.optim.rates import depends_on_length, lr_factor
from unlocked.optim.registry import (
    OPTIMIZERS,
    build_optimizer,
    check_optimizer,
    declared,
    options_type,
    refuse_misstep,
    register_optimizer,
    searches,
    state_size,
    takes,
    torch_keys,
)

__all__ = [
    "OPTIMIZERS",
    "Gradients",
    "build_optimizer",
    "changes",
    "check_optimizer",
    "declared",
    "depends_on_length",
    "lr_factor",
    "options_type",
    "refuse_misstep",
    "refuse_strangers",
    "register_optimizer",
    "searches",
    "state_size",
    "takes",
    "torch_keys",
]

register_all()
