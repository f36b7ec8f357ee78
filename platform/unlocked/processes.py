"""Processes told apart for good: a number alone is handed out again."""

from __future__ import annotations

import os
import socket
from typing import Any

RAY_FOLDER = "UNLOCKED_RAY_FOLDER"  # in the environment of every process that belongs to a private Ray: its folder


def identify_process(pid: int) -> dict[str, Any]:
    """A process by more than its number, which the system hands out again."""
    return {"pid": pid, "started": _start_time(pid), "host": socket.gethostname()}


def process_alive(identity: dict[str, Any]) -> bool:
    """Is that very process still running? A process of another machine counts as running: we cannot know."""
    if not identity:
        return False
    if identity.get("host", socket.gethostname()) != socket.gethostname():
        return True
    pid = identity["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start_time(pid) == identity.get("started") and not _is_zombie(pid)


def process_runs(pid: int) -> bool:
    """Does a process that this one started and has not waited for still run? One that has ended is a zombie."""
    fields = _stat_fields(pid)
    return fields[0] != "Z" if fields else process_alive(identify_process(pid))


def _stat_fields(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:  # read at every answer of a worker: a Path takes as long as the read
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []  # no /proc (macOS) or no such process: the number must do


def _start_time(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[19] if fields else None  # field 22 of proc(5), counted after the command name


def _is_zombie(pid: int) -> bool:
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] == "Z"
