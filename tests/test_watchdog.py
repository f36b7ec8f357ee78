"""A suite that is interrupted or killed leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unlocked.launch import reaper

WATCHDOG = Path(__file__).with_name("watchdog.py")

SUITE = """
import os, subprocess, sys, time, uuid
os.environ["UNLOCKED_SUITE"] = name = os.environ.get("UNLOCKED_SUITE", "") + f"/{uuid.uuid4().hex}"
command = [sys.executable, "-S", sys.argv[1], name, str(os.getpid())]
watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
watchdog.stdout.readline()
sleeper = subprocess.Popen(["sh", "-c", "trap '' INT TERM; sleep 60 & wait"], start_new_session=True)
print(watchdog.pid, sleeper.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs Linux's /proc")
@pytest.mark.parametrize("kill", ["the suite is killed", "ctrl-c"])
def test_all_that_a_suite_started_ends_with_it(kill):
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SUITE, str(WATCHDOG)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as suite:
        assert suite.stdout is not None
        watchdog, sleeper = map(int, suite.stdout.readline().split())
        assert alive(watchdog)
        assert alive(sleeper)
        if kill == "ctrl-c":
            os.killpg(suite.pid, signal.SIGINT)
        else:
            suite.kill()
    deadline = time.monotonic() + 20
    while (alive(watchdog) or alive(sleeper)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(sleeper)
    assert not alive(watchdog)


def test_the_cleaners_are_known_by_the_name_of_their_module():
    assert f'CLEANER = b"{reaper.__name__}"' in WATCHDOG.read_text()
