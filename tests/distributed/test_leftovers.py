"""A run leaves nothing but its run folder, however it ends: no process, no file, no shared memory.

(A port and an anonymous memory file last no longer than the processes that hold them. After Ctrl-C: test_resume.)
"""

from __future__ import annotations

import os
import signal

import pytest

from unlocked.engine.checkpoint import Checkpoints

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

RUN = ["scheme.name=cdni", "parallel.stages=2"]


def in_the_middle(run_dir):
    return Checkpoints(run_dir).last() is not None


@pytest.mark.parametrize(("how", "code"), [("by itself", 0), ("a worker dies", 1), ("sigterm", 130)],
                         ids=["normal", "death", "sigterm"])
def test_nothing_remains_of_a_run(how, code, drive, processes):
    epochs = 2 if how == "by itself" else 2000
    driver = drive(*RUN, f"train.epochs={epochs}", "train.checkpoint_every=1", "parallel.max_failures=0")
    driver.wait_for(in_the_middle)
    assert len(driver.below) >= 4, "the processes of a private Ray were not found"
    if how == "a worker dies":
        (first, *_) = processes.descendants(driver.process.pid, "ray::Worker")
        os.kill(first, signal.SIGKILL)
    elif how == "sigterm":
        os.kill(driver.process.pid, signal.SIGTERM)
    _, err = driver.process.communicate(timeout=90)
    assert driver.process.returncode == code, err
    driver.leaves_nothing()
