"""Neighbouring modules of one process: queues between them, and all of them tick by tick."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from unlocked.engine.links import Queue
from unlocked.engine.module import Ends, ModuleRunner, SegmentStats


def run_together(modules: Sequence[ModuleRunner], start: int, stop: int, checkpoint_at: int) -> list[SegmentStats]:
    """All ticks of a segment for the neighbouring modules of one worker: its whole training loop."""
    if len(modules) == 1:
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
    total = sum(busy)
    return [replace(module.end(start, stop), others=total - mine) for module, mine in zip(modules, busy, strict=True)]


def connect_in_process(modules: Sequence[ModuleRunner]) -> None:
    """Queues between the modules of one process."""
    feedback_from = modules[0].learner.feedback_from
    ends = [Ends() for _ in modules]
    for below, above in pairwise(ends):
        below.h_out = above.h_in = Queue()
        if feedback_from is not None:
            below.feedback_in = link = Queue()
            (above if feedback_from == "above" else ends[-1]).feedback_out.append(link)
    for module, its in zip(modules, ends, strict=True):
        module.connect(its)
