"""A file is written whole or not at all, also with many processes writing the same one.

What lies at the path itself is replaced, never written through: a link that somebody put there leads nowhere.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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

    Makes the folder. Raises `OSError` where that or the rename fails, with the name of the file where it has none.
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
    """Removes what processes that were killed had begun to write in `folder`, where nobody writes now."""
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
