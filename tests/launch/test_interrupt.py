"""Ctrl-C ends a command, also one whose main thread does not come back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# The main thread waits in C for ever, as in a call to a dead Ray: no handler of Python's runs.
HANGS = """
import ctypes, signal, sys
from unlocked.launch.interrupt import ends_at_the_second_signal
{ray}
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)  # as in a run
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(lock)
with ends_at_the_second_signal(patience=0.2):
    print("waiting", flush=True)
    libc.pthread_mutex_lock(lock)
"""


@pytest.fixture
def hanging():
    started = []

    def start(ray=""):
        process = subprocess.Popen(
            [sys.executable, "-c", HANGS.format(ray=ray)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == "waiting\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_that_hangs_in_ray(hanging, second):
    process = hanging("sys.modules['ray'] = sys")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(second)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "unlocked: interrupted; the last checkpoint stands\n"


def test_without_ray_nobody_is_cut_short(hanging):
    process = hanging()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
