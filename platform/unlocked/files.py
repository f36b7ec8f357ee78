"""A file is written whole or not at all, also with many processes writing the same one.

What lies at the path itself is replaced, never written through: a link that somebody put there leads nowhere.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeGuard

PRIVATE = 0o600  # its owner's alone
# what a disk, or whoever rules it, answers, whatever was being written
DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; flushed and renamed to it when the block ends well, removed when not.

    Makes the folder. Raises `OSError` if that or the rename fails, with the name of the file if it has none.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        flush(part)  # or a power cut could leave the new name with nothing in it
        part.replace(target)
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    finally:
        with suppress(OSError):
            part.unlink()


def clear_parts(folder: Path) -> None:
    """Removes what processes that were killed had begun to write in `folder`, to which nobody writes now."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


def write_whole(target: Path, text: str, mode: int | None = None) -> Path:
    """`target` holds `text` in one step: a reader sees the old words or the new ones. Raises `OSError`.

    `mode`: who may read it, from its first moment on (`PRIVATE`).
    """
    with written_whole(target) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    return target


def read_regular(path: Path) -> str:
    """The text of a file. Raises `OSError` for anything else: a pipe that came with a folder would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return file.read()


def flush(path: Path) -> None:
    """Waits until a file, or what a folder says of its files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty when the file is missing, cannot be read or is damaged."""
    try:
        value = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value of a JSON file is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` in one step: a reader sees the old object or the new one."""
    write_whole(path, json.dumps(value))


@contextmanager
def locked(path: Path, timeout: float | None = None) -> Iterator[bool]:
    """Hold an exclusive lock on `path`; yields False when it could not be had within `timeout` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if timeout is None else time.monotonic() + timeout
    # never through a link, and a file that only its owner may write can be locked by others too
    flags = os.O_CREAT | os.O_RDWR if os.access(path if path.exists() else path.parent, os.W_OK) else os.O_RDONLY
    with os.fdopen(os.open(path, flags | os.O_NOFOLLOW, 0o666)) as file:
        while not (held := _try_lock(file.fileno())):
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        yield held  # closing the file releases the lock


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
