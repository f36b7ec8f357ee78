"""Cut a chain of n blocks into K contiguous modules so that the slowest is as fast as it can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import dry_run

# What it takes to write one number to memory, in floating-point operations: between 60 and 100 gave the shares of time
# that the blocks of a VGG and a ResNet take on a core; without it early convolutions seem far too cheap.
WRITING = 80


def block_costs(blocks: Sequence[nn.Module], in_shape: tuple[int, ...], example: Example | None = None) -> list[float]:
    """Training cost of each block for one example, in floating-point operations.

    Three times the forward count (forward, gradient of the weights, gradient of the input), twice for the
    first block, whose input needs no gradient. Every number that an operator writes counts as `WRITING` operations.
    Counted, not timed: the same configuration is cut the same way on every machine.
    """
    costs: list[float] = []

    def count(block: nn.Module, run: Callable[[], Tensor]) -> None:
        examples = 0

        def passed() -> None:
            nonlocal examples
            examples = len(run())

        forward = operations(passed)
        costs.append(forward / examples * (3 if costs else 2))

    dry_run(blocks, example or Example(in_shape, 1), count)
    return costs


def operations(run: Callable[[], object]) -> float:
    """Floating-point operations of a pass, without a graph; every number that is written counts as `WRITING`."""
    with FlopCounterMode(display=False) as counter, _Written() as written, torch.no_grad():  # type: ignore[no-untyped-call]
        run()
    return float(counter.get_total_flops() + WRITING * written.numbers)


class _Written(TorchDispatchMode):
    """Counts the numbers that operators write; a view writes none."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        main = results[0] if isinstance(results, (tuple, list)) else results  # beside it: statistics, indices
        if isinstance(main, Tensor) and not func.is_view:
            self.numbers += main.numel()
        return results


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


def _best_cut(
    n: int, modules: int, cost: Callable[[int, int, int], float], add: Callable[[float, float], float]
) -> tuple[float, list[int]]:
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
