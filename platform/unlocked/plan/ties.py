"""Blocks that no cut may part, because one reads what another made beside h: a skip of a U-Net that is kept in an
attribute, say. Modules hand on h alone, and in other processes there is nothing else to read.

They are found by the graph of a pass: h is cut off after every block, so what a block's output still depends on is h,
the batch, the block's own weights, or something that came by another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.blame import knowing_of_ctrl_c
from unlocked.chain.partition import partition
from unlocked.config import Config
from unlocked.errors import ConfigError
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import dry_run
from unlocked_models.contract.registry import MODELS

Tie = tuple[int, int]  # the second block reads what the first one made


def ties_of(config: Config, blocks: Sequence[nn.Module], example: Example) -> list[Tie]:
    """Of a user's model; ours have none, as tests hold. Nothing is said of a model whose pass fails here."""
    if MODELS.get(config.model["name"]).__module__.startswith("unlocked_models."):
        return []
    own = {id(p): i for i, block in reversed(list(enumerate(blocks))) for p in block.parameters()}
    several = {id(p) for i, block in enumerate(blocks) for p in block.parameters() if own[id(p)] != i}  # shared weights
    leaves: dict[int, int] = {}  # by identity, of the block that is given it
    kept: list[Tensor] = []  # an identity is of one thing as long as it lives
    found: list[Tie] = []
    at = 0

    def passed(h: Tensor) -> Tensor:
        leaf = h.detach()
        if leaf.is_floating_point():
            leaves[id(leaf.requires_grad_())] = at
            kept.append(leaf)
        return leaf.clone()  # autograd lets nobody change a leaf

    def visit(block: nn.Module, run: Any) -> None:
        nonlocal at
        with torch.enable_grad():
            out = run()
            for each in _leaves(out):
                of = leaves.get(id(each), None if id(each) in several else own.get(id(each)))
                if of is not None and of < at:
                    found.append((of, at))
            kept.append(out)
        at += 1

    with torch.random.fork_rng(devices=[]), knowing_of_ctrl_c() as is_ctrl_c:
        try:
            dry_run(blocks, example, visit, passed)
        except BaseException as error:  # a user's block raises whatever it likes; it is told elsewhere
            if is_ctrl_c(error):
                raise
            return []
    return sorted(set(found))


def _leaves(out: Tensor) -> Iterator[Tensor]:
    """The tensors that a graph begins with."""
    open_, seen = [out.grad_fn], set()
    while open_:
        fn = open_.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        if (variable := getattr(fn, "variable", None)) is not None:
            yield variable
        open_ += [each for each, _ in fn.next_functions]


def cuts_of(n: int, ties: Sequence[Tie]) -> list[int]:
    """The blocks after which a cut may lie.

    >>> cuts_of(6, [(1, 3)])
    [0, 3, 4]
    """
    return [i for i in range(n - 1) if not any(first <= i < last for first, last in ties)]


def sizes_of(config: Config, costs: Sequence[float], beside: Sequence[float], ties: Sequence[Tie]) -> list[int]:
    """Blocks per module: as the configuration has them, else balanced over the cuts that there may be."""
    modules, given = config.parallel.modules, config.parallel.partition
    cuts = cuts_of(len(costs), ties)
    if given is not None or not ties:
        return list(given or partition(costs, modules, beside))
    if modules > len(cuts) + 1:
        raise ConfigError(f"parallel.modules: {modules}, but {why_not(ties, len(costs))}")
    ends = [*cuts, len(costs) - 1]  # blocks that hold together are one for the balance
    starts = [0, *(end + 1 for end in ends[:-1])]
    whole = [sum(costs[start : end + 1]) for start, end in zip(starts, ends, strict=True)]
    sizes, place = [], 0
    for size in partition(whole, modules, [beside[end] for end in ends]):
        sizes.append(ends[place + size - 1] + 1 - starts[place])
        place += size
    return sizes


def refuse_parted(sizes: Sequence[int], ties: Sequence[Tie]) -> None:
    """Raises `ConfigError` for a given cut that lies between two blocks that hold together."""
    cuts = cuts_of(sum(sizes), ties)
    stops = [sum(sizes[: k + 1]) - 1 for k in range(len(sizes) - 1)]
    if (wrong := next((stop for stop in stops if stop not in cuts), None)) is not None:
        raise ConfigError(
            f"parallel.partition: {list(sizes)} cuts after block {wrong}, but {why_not(ties, sum(sizes), wrong)}"
        )


def why_not(ties: Sequence[Tie], n: int, cut: int | None = None) -> str:
    """Which blocks hold together, and where a cut may lie."""
    first, last = next(tie for tie in ties if cut is None or tie[0] <= cut < tie[1])
    cuts = cuts_of(n, ties)
    allowed = (
        f"cuts may lie after block{'s' * (len(cuts) > 1)} {', '.join(map(str, cuts))}" if cuts else "no cut is left"
    )
    return (
        f"block {last} reads what block {first} made beside h, which no other module has; {allowed}; a skip that is "
        f"carried in h can be cut anywhere (docs/skips.md)"
    )
