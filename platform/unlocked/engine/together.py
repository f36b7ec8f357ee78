"""Neighbouring modules of one process: queues between them, and all of them tick by tick."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from unlocked.engine.clipping import Clipping
from unlocked.engine.edges import edges, ends_of
from unlocked.engine.links import Queue
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats


def run_together(
    modules: Sequence[ModuleRunner], start: int, stop: int, checkpoint_at: int, clip: Clipping | None = None
) -> list[SegmentStats]:
    """All ticks of a segment for the neighbouring modules of one worker: its whole training loop."""
    if len(modules) == 1 and clip is None:
        return [modules[0].run(start, stop, checkpoint_at)]
    busy = [0.0] * len(modules)

    def timed(k: int, phase: Callable[[int], None], t: int) -> None:
        begin = time.perf_counter()
        phase(t)
        busy[k] += time.perf_counter() - begin

    for module in modules:
        module.begin(start, stop, checkpoint_at)
    for t in range(start, stop):
        for k, module in enumerate(modules):
            timed(k, module.forward_phase, t)
        for k, module in reversed(list(enumerate(modules))):
            timed(k, module.feedback_phase, t)
        if clip is not None:
            clip()
    total = sum(busy)
    return [replace(module.end(start, stop), others=total - mine) for module, mine in zip(modules, busy, strict=True)]


def connect_in_process(modules: Sequence[ModuleRunner]) -> None:
    """Queues between the modules of one process, which are all of their net."""
    queues = {edge: Queue() for edge in edges(modules[0].plan)}
    for k, module in enumerate(modules):
        module.connect(ends_of(k, queues, queues))
