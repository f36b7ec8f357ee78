"""Many steps: memory stays flat, of the driver and of every worker."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

TINY = [
    "model.hidden=[8]",
    "model.norm=none",
    "scheme.sg.hidden=[]",
    "data.batch_size=8",
    "parallel.partition=null",
    "parallel.threads=1",
    "parallel.timeout=60",
    "parallel.modules=2",
]
MB = 2**20


def meter():
    """A function that workers can be asked as well."""

    def memory(_=None):
        """Bytes of this process's own memory: without what it maps of files and of Ray's object store."""
        gc.collect()
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    return memory


def planned(*overrides):
    config = load_config("quickstart", [*TINY, *overrides])
    data = load_data(config)
    return make_plan(config, data), data


def segments(start, stop, length=50):
    return [(t, min(t + length, stop)) for t in range(start, stop, length)]


def run(group, start, stop):
    """Steps start..stop-1, with a checkpoint's states at the end."""
    for _ in group.run(segments(start, stop), stop):
        pass
    group.states(stop)


@pytest.mark.ray
@pytest.mark.live
@pytest.mark.slow("twenty thousand steps")
@pytest.mark.timeout(240)
def test_two_workers_keep_their_memory_over_twenty_thousand_steps(warm):
    memory, steps = meter(), 20_000
    group, early = warm(*planned("scheme.name=cdni", "parallel.engine=ray")), steps // 5
    try:
        run(group, 0, early)
        before = [memory(), *group.ask(memory)]
        began = time.monotonic()
        run(group, early, steps)
        rate = (steps - early) / (time.monotonic() - began)
        after = [memory(), *group.ask(memory)]
    finally:
        group.close()
    grown = [(b - a) / MB for a, b in zip(before, after, strict=True)]
    assert max(grown) < 2, f"MB grown by the driver and the workers: {grown} ({rate:.0f} steps/s)"


@pytest.mark.live
@pytest.mark.slow("three thousand steps")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["backprop", "dni", "cdni", "dfa", "frozen"])
def test_one_process_keeps_its_memory_over_many_steps(scheme):
    group = InProcessGroup(*planned(f"scheme.name={scheme}", "parallel.engine=inprocess"))
    memory = meter()
    run(group, 0, 600)
    before = memory()
    run(group, 600, 3000)
    assert (memory() - before) / MB < 1
