"""The tracking files of one run folder, written so that a kill at any instant leaves them readable.

    tracking/spool.jsonl   everything recorded, in order; the training process appends
    tracking/driver.json   which process is (or was) training
    tracking/target.json   where the records should go: address without secrets, experiment, runs root
    tracking/mlflow.json   the MLflow run they went to
    tracking/offset        bytes of the spool that have arrived, and the status the run was closed with
    tracking/writer.lock   held by the one writer
    tracking/writer.log    what the writer had to say
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlocked.files import write_whole


@dataclass(frozen=True)
class TrackingFolder:
    """Paths under `run_dir/tracking`."""

    run_dir: Path

    @property
    def path(self) -> Path:
        return self.run_dir / "tracking"

    @property
    def spool(self) -> Path:
        return self.path / "spool.jsonl"

    @property
    def driver(self) -> Path:
        return self.path / "driver.json"

    @property
    def target(self) -> Path:
        return self.path / "target.json"

    @property
    def mlflow(self) -> Path:
        return self.path / "mlflow.json"

    @property
    def offset(self) -> Path:
        return self.path / "offset"

    @property
    def lock(self) -> Path:
        return self.path / "writer.lock"

    @property
    def log(self) -> Path:
        return self.path / "writer.log"

    def size(self) -> int:
        try:
            return self.spool.stat().st_size
        except FileNotFoundError:
            return 0

    def sent(self) -> tuple[int, str | None]:
        """How many bytes of the spool have arrived, and the status the MLflow run was closed with."""
        state = read_json(self.offset)
        return int(state.get("offset", 0)), state.get("closed")

    def finished_in_spool(self) -> bool:
        """Is the last complete record a `finish`?"""
        return _last_line(self.spool).startswith(b'{"t": "finish"')


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty when the file is missing or was never written whole."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` in one step: a reader sees the old object or the new one."""
    write_whole(path, json.dumps(value))


@contextmanager
def locked(path: Path, timeout: float | None = None) -> Iterator[bool]:
    """Hold an exclusive lock on `path`; yields False when it could not be had within `timeout` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if timeout is None else time.monotonic() + timeout
    with path.open("a") as file:
        while not (held := _try_lock(file.fileno())):
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        yield held                                # closing the file releases the lock


def identify_process(pid: int) -> dict[str, Any]:
    """A process by more than its number, which the system hands out again."""
    return {"pid": pid, "started": _start_time(pid), "host": socket.gethostname()}


def process_alive(identity: dict[str, Any]) -> bool:
    """Is that very process still running? A process of another machine counts as running: we cannot know."""
    if not identity:
        return False
    if identity.get("host", socket.gethostname()) != socket.gethostname():
        return True
    pid = int(identity["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start_time(pid) == identity.get("started") and not _is_zombie(pid)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stat_fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []                                 # no /proc (macOS) or no such process: the number must do


def _start_time(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[19] if fields else None         # field 22 of proc(5), counted after the command name


def _is_zombie(pid: int) -> bool:
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] == "Z"


def _last_line(path: Path, block: int = 65536) -> bytes:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            tail = b""
            while end > 0 and tail.count(b"\n") < 2:
                start = max(0, end - block)
                file.seek(start)
                tail = file.read(end - start) + tail
                end = start
    except FileNotFoundError:
        return b""
    lines = tail.split(b"\n")
    return lines[-2] if len(lines) > 1 and not lines[-1] else b""
