"""A run leaves nothing but its run folder, however it ends: no process, no file, no shared memory.

(A port and an anonymous memory file last no longer than the processes that hold them.)
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from unlocked.engine.checkpoint import Checkpoints

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

RUN = ["scheme.name=cdni", "parallel.stages=2"]


def in_the_middle(run_dir):
    return Checkpoints(run_dir).last() is not None


def shared_memory(pids):
    """Files of /dev/shm that these processes hold and that still have a name."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if "/dev/shm/" in line and not line.endswith("(deleted)"):
                    found.add(line[line.index("/dev/shm/"):])
    return found


@pytest.mark.parametrize(("how", "code"), [
    ("by itself", 0), ("a worker dies", 1), (signal.SIGINT, 130), (signal.SIGTERM, 130)],
    ids=["normal", "death", "ctrl-c", "sigterm"])
def test_nothing_remains_of_a_run(how, code, drive, processes):
    epochs = 2 if how == "by itself" else 2000
    driver = drive(*RUN, f"train.epochs={epochs}", "train.checkpoint_every=1", "parallel.max_failures=0")
    driver.wait_for(in_the_middle)
    workers = [pid for pid in processes.marked(driver.mark) if pid in driver.below]
    named = shared_memory(workers)
    assert len(workers) >= 4, "the processes of a private Ray were not found"
    if how == "a worker dies":
        (first, *_) = processes.descendants(driver.process.pid, "ray::Worker")
        os.kill(first, signal.SIGKILL)
    elif how != "by itself":
        os.kill(driver.process.pid, how)
    _, err = driver.process.communicate(timeout=90)
    assert driver.process.returncode == code, err
    processes.until(lambda: not processes.alive(processes.marked(driver.mark)), 5,
                    f"the end of {[commands(pid) for pid in processes.marked(driver.mark)]}")
    left = [path.name for path in driver.temporary.iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # a cache of torch's, one per user
    assert [path for path in named if Path(path).exists()] == []
    assert {path.name for path in driver.cwd.iterdir()} <= {"runs", "data"}


def commands(pid):
    with contextlib.suppress(OSError):
        return re.sub(rb"\0+", b" ", Path(f"/proc/{pid}/cmdline").read_bytes()).decode()[:80]
    return "?"
