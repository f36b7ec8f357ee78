"""Running statistics of modules that train on synthetic inputs, for the activations that they are evaluated on.

With synthetic inputs (`schemes/inputs.py`) module k trains on I_k(x), so its batch norms average the mean and variance
of activations above a guess. The chain that is evaluated and saved feeds them the real h_{k-1}. Before an evaluation
and before a checkpoint they are therefore estimated anew, as `torch.optim.swa_utils.update_bn` does after weights were
averaged: the latest minibatches pass the real chain at the weights of this moment, in training mode with the dropout
masks that they had, without gradients, and each layer keeps the mean over them. That is what a run without synthetic
inputs would have averaged. Modules on real inputs keep their own statistics.

Why not track them while training, on the real h that comes `lag` later anyway: it is the output of a module that ran on
a guess itself (from the third module on), and one more forward pass per step would cost what the unlocking gains.

Cost: a forward pass over an epoch's minibatches, `MOST` at most, at every epoch that evaluates or saves: 11 % [10, 12]
of the epoch's training time on mnist1d/cdni with two modules (15 pairs in process, one thread). The result is a
function of the weights, the step and the seed alone, so a resumed run has that of an unbroken one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlocked.plan.plan import Plan
from unlocked_models.contract.chain import Chain

MOST = 100  # minibatches
AT_ONCE = 10_000_000  # numbers of one boundary that pass from module to module together


def passes(plan: Plan, t: int) -> list[tuple[range, int]]:
    """The minibatches that running statistics are estimated on after t steps, some at a time, each with the number of
    those before."""
    first = max(0, t - min(MOST, plan.steps_per_epoch))
    numbers = plan.config.data.batch_size * max(math.prod(spec.out_shape) for spec in plan.specs)
    each = max(1, AT_ONCE // numbers)
    return [(range(start, min(start + each, t)), start - first) for start in range(first, t, each)]


def tracking(chain: Chain) -> list[nn.Module]:
    """Its layers whose running statistics move in training: torch's, and what has its `reset_running_stats`."""
    return [
        layer
        for layer in chain.modules()
        if layer.training
        and hasattr(layer, "reset_running_stats")
        and isinstance(getattr(layer, "running_mean", None), Tensor)
    ]


@contextlib.contextmanager
def averaging(layers: list[nn.Module], nth: int) -> Iterator[None]:
    """Inside it the layers' statistics become the mean over minibatches, of which `nth` passed before this one."""
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        if nth == 0:
            layer.reset_running_stats()  # type: ignore[operator]
        # batch norm counts its passes itself, and may have several in one minibatch
        layer.momentum = None if isinstance(layer, _BatchNorm) else 1 / (nth + 1)  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextlib.contextmanager
def untouched(chain: Chain, layers: list[nn.Module]) -> Iterator[None]:
    """All buffers of the chain but those of `layers` are after it what they were before."""
    moving = {id(buffer) for layer in layers for buffer in layer.buffers()}
    kept = [(buffer, buffer.clone()) for buffer in chain.buffers() if id(buffer) not in moving]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)
