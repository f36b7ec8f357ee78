"""Cut a chain of n blocks into K contiguous modules so that the slowest is as fast as it can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unlocked_models.chain import Batch, takes_batch


def block_costs(blocks: Sequence[nn.Module], in_shape: tuple[int, ...]) -> list[float]:
    """Training cost of each block for one example, in floating-point operations.

    Three times the forward count (forward, gradient of the weights, gradient of the input), twice for the
    first block, whose input needs no gradient. Elementwise operations count one per element of the output.
    Counted, not timed: the same configuration is cut the same way on every machine.
    """
    costs: list[float] = []
    device = next((p.device for block in blocks for p in block.parameters()), torch.device("cpu"))
    h = torch.zeros(2, *in_shape, device=device)
    batch = Batch(x=h, y=torch.zeros(2, dtype=torch.long, device=device))
    with torch.no_grad():
        for index, block in enumerate(blocks):
            was_training = block.training
            block.eval()
            with FlopCounterMode(display=False) as counter:
                h = block(h, batch) if takes_batch(block) else block(h)
            block.train(was_training)
            forward = (counter.get_total_flops() + h.numel()) / len(h)
            costs.append(forward * (2 if index == 0 else 3))
    return costs


def partition(costs: Sequence[float], modules: int, extra: Sequence[float] | None = None) -> list[int]:
    """Blocks per module, for the contiguous cut that minimises the slowest module, then the sum of squares.

    `extra[i]` is the cost that a module pays when it ends after block i and is not the last (its
    synthetic-gradient model). Raises `ValueError` when there are fewer blocks than modules.

    >>> partition([2, 1, 1, 1, 1], 2)
    [2, 3]
    """
    n = len(costs)
    if not 1 <= modules <= n:
        raise ValueError(f"{n} blocks cannot be cut into {modules} modules")
    extra = extra if extra is not None else [0.0] * n

    def cost(module: int, start: int, stop: int) -> float:
        return sum(costs[start:stop]) + (extra[stop - 1] if module < modules else 0.0)

    slowest, _ = _best_cut(n, modules, cost, max)
    # the best cut of the first blocks by both measures need not begin the best cut of all: hence two passes
    _, sizes = _best_cut(n, modules, cost, lambda so_far, c: so_far + c * c if c <= slowest else math.inf)
    return sizes


def _best_cut(n: int, modules: int, cost: Callable[[int, int, int], float],
              add: Callable[[float, float], float]) -> tuple[float, list[int]]:
    """The least total, accumulated by `add` over the modules' costs, and the sizes that give it."""
    best: list[tuple[float, list[int]] | None] = [(0.0, [])] + [None] * n  # of the first i blocks
    for module in range(1, modules + 1):
        nxt: list[tuple[float, list[int]] | None] = [None] * (n + 1)
        for stop in range(module, n - (modules - module) + 1):
            for start in range(module - 1, stop):
                before = best[start]
                if before is None:
                    continue
                total = add(before[0], cost(module, start, stop))
                found = nxt[stop]
                if found is None or total < found[0]:
                    nxt[stop] = (total, [*before[1], stop - start])
        best = nxt
    assert best[n] is not None
    cut = best[n]
    assert cut is not None
    return cut
