"""A run leaves nothing but its run folder, however it ends: no process, no file, no shared memory.

(A port and an anonymous memory file last no longer than the processes that hold them. After Ctrl-C: test_resume.)
"""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest

from unlocked.runs.checkpoint import Checkpoints
from unlocked.security import is_loopback

pytestmark = [pytest.mark.ray, pytest.mark.slow("each run starts a Ray of its own"), pytest.mark.timeout(180)]

RUN = ["scheme.name=cdni", "parallel.modules=2"]


def in_the_middle(run_dir):
    return Checkpoints(run_dir).last() is not None


def open_to_others(pids):
    """What these processes listen on beyond loopback: ports of Ray's, of its metrics, of the workers."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found += [
                (psutil.Process(pid).name(), *listener.laddr)
                for listener in psutil.Process(pid).net_connections("inet")
                if listener.status == psutil.CONN_LISTEN and not is_loopback(listener.laddr.ip.removeprefix("::ffff:"))
            ]
    return found


@pytest.mark.parametrize(
    ("how", "code"),
    [("by itself", 0), ("a worker dies", 1), ("sigterm", 130), ("sigkill", -9)],
    ids=["normal", "death", "sigterm", "sigkill"],
)
def test_nothing_remains_of_a_run(how, code, drive, processes):
    epochs = 2 if how == "by itself" else 2000
    driver = drive(*RUN, f"train.epochs={epochs}", "train.checkpoint_every=1", "parallel.max_failures=0")
    driver.wait_for(in_the_middle)
    assert len(driver.below) >= 4, "the processes of a private Ray were not found"
    if how == "sigterm":
        (folder,) = (path for path in driver.temporary.iterdir() if path.name.startswith("unlocked-"))
        assert folder.stat().st_mode & 0o077 == 0, "other users may enter the folder of a private Ray"
        assert open_to_others(driver.below) == []
    if how == "a worker dies":
        (first, *_) = processes.descendants(driver.process.pid, "ray::Worker")
        os.kill(first, signal.SIGKILL)
    elif how == "sigterm":
        os.kill(driver.process.pid, signal.SIGTERM)
    elif how == "sigkill":  # nothing of the driver's own can clear up
        os.kill(driver.process.pid, signal.SIGKILL)
    _, err = driver.process.communicate(timeout=90)
    assert driver.process.returncode == code, err
    driver.leaves_nothing()
