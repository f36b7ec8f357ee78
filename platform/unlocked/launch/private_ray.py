"""A Ray of this process alone: reached from this machine only, and gone when its owner is.

Ray itself opens its ports, those of its metrics without a token, on every interface of the machine, and its folder to
every user of it. On systems where it knows no clusters it keeps to loopback, which is what is asked for here.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlocked.launch.interrupt import ends_at_the_second_signal
from unlocked.launch.reaper import clear_leftovers, make_folder, own, remove
from unlocked.processes import RAY_FOLDER, identify_process, process_runs
from unlocked.search_path import ray_job

OBJECT_STORE = 512 * 2**20  # bytes
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray's name for: nodes are known as 127.0.0.1 and listen there
_VITAL = {"raylet": "the raylet", "gcs_server": "the control store"}
_LEAVING = 20.0  # seconds that Ray has for its own shutdown; 7 were seen with a dead control store


@dataclass
class _Private:
    folder: Path
    reaper: subprocess.Popen[bytes]
    pid: int = 0  # of the owner; a fork of it owns nothing


_private: _Private | None = None
_last_words: str | None = None  # None: whoever started it has none of its own


def start(workers: int) -> None:
    """With a CPU for each of `workers` at least. Raises what `ray.init` raises; nothing is left then."""
    global _private
    import ray

    clear_leftovers()
    folder = make_folder()
    own(folder, [identify_process(os.getpid())], _words("start it again") if _last_words is None else _last_words)
    # -P: a module of the user's that lies in the working directory is none of ours
    reaper = subprocess.Popen(
        [sys.executable, "-P", "-m", "unlocked.launch.reaper", str(folder)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    _private = _Private(folder, reaper, os.getpid())
    try:
        with environment(LOOPBACK | {RAY_FOLDER: str(folder), "RAY_USAGE_STATS_ENABLED": "0"}), loopback():
            ray.init(
                address="local",
                job_config=ray_job(),
                num_cpus=max(os.cpu_count() or 1, workers),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                object_store_memory=OBJECT_STORE,
                _temp_dir=str(folder / "r"),
                _system_config={"enable_metrics_collection": False},
            )
    except BaseException:
        end()
        raise
    atexit.register(_end_with_this_process)  # before Ray's own, which does not wait for its processes


def last_words(text: str) -> None:
    """What the user is to read on stderr where this process ends without a word: killed, or ended by Ray.

    Ray ends it in the instant in which it asks a dying raylet for something, which nothing inside can prevent.
    """
    global _last_words
    _last_words = _words(text) if text else ""
    if _private is not None and _private.pid == os.getpid():
        own(_private.folder, [identify_process(os.getpid())], _last_words)


def _words(what_to_do: str) -> str:
    return f"unlocked: process {os.getpid()} was ended, or Ray beneath it; {what_to_do}"


def end() -> None:
    """Ends it, within a limit of time even if its processes are dead or hang; nothing if there is none."""
    global _private
    if _private is None or _private.pid != os.getpid():
        return
    ended, _private = _private, None
    import ray

    leaving = threading.Thread(target=ray.shutdown, name="ray.shutdown", daemon=True)
    leaving.start()
    try:
        leaving.join(_LEAVING)
    finally:
        remove(ended.folder)
    leaving.join(_LEAVING)
    assert ended.reaper.stdin is not None
    ended.reaper.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        ended.reaper.wait(5)


def _end_with_this_process() -> None:
    with contextlib.suppress(KeyboardInterrupt), ends_at_the_second_signal(before=lambda: last_words("")):
        end()


def lost() -> str | None:
    """Which of the processes that nothing works without has died; None while all live, or if there is none."""
    if _private is None or _private.pid != os.getpid():
        return None
    import ray

    node: Any = ray._private.worker._global_node
    for kind, name in _VITAL.items():
        for started in node.all_processes.get(kind, []) if node is not None else []:
            # one whose threads have not all ended yet is a zombie, but not to be waited for
            if started.process.poll() is not None or not process_runs(started.process.pid):
                return f"{name} of this machine's private Ray (process {started.process.pid})"
    return None


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """For the processes that are started inside, not for those that this one starts later."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def loopback() -> Iterator[None]:
    """Has Ray take this machine for 127.0.0.1; what `LOOPBACK` says to a Ray that is still to be imported."""
    from ray._private import ray_constants

    constants: Any = ray_constants
    before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
