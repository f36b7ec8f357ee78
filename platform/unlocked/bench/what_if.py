"""`unlocked bench scaling --simulate K`: measures what a case costs here, and simulates it over K modules.

K modules are one of two things, and the report says which:

* no more than the chain has blocks: its blocks, cut as `chain.partition` cuts them, at their measured costs;
* more: *balanced*, as if the network had grown with K (`cost_model.balanced`): every module is as many copies of the
  median block as the case's own modules have blocks, n // `parallel.modules`.

The link is measured between two processes of this machine unless both of its numbers are given. Workers are taken to
have a core each that nobody slows; only where the K modules would fit the cores of this machine, over its own link, do
they slow each other by what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unlocked.bench.measured.costs import measure, whole_chain
from unlocked.bench.measured.measure import cores
from unlocked.bench.measured.peer import Peer, contention
from unlocked.bench.simulated.cost_model import Costs, Link, balanced, cut
from unlocked.bench.simulated.simulate import Simulation, simulate
from unlocked.chain import partition
from unlocked.config import Config
from unlocked.errors import ConfigError


@dataclass(frozen=True)
class WhatIf:
    case: str
    modules: Costs  # one unit per module
    cut: list[int]  # blocks per module
    balanced: bool  # of copies of the median block, not of the chain's own
    link: Link
    contention: float
    microbatches: int
    steps: int
    simulation: Simulation


def what_if(
    config: Config,
    modules: int,
    microbatches: int | None = None,
    steps: int = 1000,
    latency: float | None = None,
    bandwidth: float | None = None,
    imports: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> WhatIf:
    """Every schedule over K = `modules`, from costs measured in this process and in children of it.

    Args:
        microbatches: M of pipelined backprop; 4K, or as many as the minibatch has examples, when None.
        steps: of the run whose rate includes filling.
        latency, bandwidth: seconds and bytes per second, in place of those of this machine.

    Raises `ConfigError` for what cannot be simulated.
    """
    batch = config.data.batch_size
    if microbatches is not None and microbatches > batch:
        raise ConfigError(f"--microbatches: {microbatches} is more than the {batch} examples of a minibatch")
    microbatches = microbatches or min(4 * modules, batch)
    module, data = whole_chain(config)
    note("measuring the blocks")
    blocks = measure(module, data, max(1, batch // microbatches))
    parallel = config.parallel
    sizes, units = modules_of(blocks, modules, max(1, len(blocks) // parallel.modules), parallel.partition)
    own_link = latency is None and bandwidth is None
    shared = own_link and modules <= cores()  # this very machine
    link, slowed = Link(latency or 0.0, 0.0, bandwidth or np.inf), 1.0
    if latency is None or bandwidth is None or shared:
        note("measuring the link" + (" and how much the modules slow each other" if shared else ""))
        peers = [Peer(imports) for _ in range(modules - 1 if shared else 1)]
        try:
            here = peers[0].link(int(np.median(units.bytes_out[:-1])) // 4)
            link = replace(
                here,
                latency=here.latency if latency is None else latency,
                bandwidth=here.bandwidth if bandwidth is None else bandwidth,
            )
            slowed = contention(module, peers) if shared else 1.0
        finally:
            for peer in peers:
                peer.close()
    note("simulating")
    return WhatIf(
        config.name,
        units,
        sizes,
        modules > len(blocks),
        link,
        slowed,
        microbatches,
        steps,
        simulate(units, link, microbatches, steps, slowed),
    )


def modules_of(blocks: Costs, modules: int, each: int = 1, given: list[int] | None = None) -> tuple[list[int], Costs]:
    """Blocks per module and the modules: a cut of the measured blocks, the `given` one if it makes K; or, where K is
    more than the blocks, balanced modules of `each` copies.

    Raises `ConfigError` for more modules than blocks if no block can be copied.
    """
    if modules <= len(blocks):
        fits = given is not None and len(given) == modules
        sizes = given if fits else partition(list(blocks.step), modules, list(blocks.cdni_predict + blocks.cdni_learn))
        assert sizes is not None
        return sizes, cut(blocks, sizes)
    try:
        return [each] * modules, balanced(blocks, modules, each)
    except ValueError as error:
        raise ConfigError(
            f"--simulate: {modules} modules are more than the {len(blocks)} blocks of the chain, and {error}"
        ) from None
