"""What a private Ray leaves behind when its owner is killed: processes and a folder, ended and removed here.

    python -m unlocked.launch.reaper FOLDER     started beside each private Ray; waits until nobody owns it

Ray's processes notice late that the one that started them is gone, some after a minute, and nobody removes its folder.
And Ray may end its owner without a word, as may a kill: what such a process leaves to be said is said here.
A folder belongs to the processes that its `owner.json` names; a process belongs to the folder that stands in its
environment, or that Ray has it write its log to. Where the reaper is killed too, the next command that trains clears
up. Nothing is touched that another user owns, or that still has an owner.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlocked.files import read_json, write_json
from unlocked.processes import RAY_FOLDER, process_alive

PREFIX = "unlocked-"
OWNER = "owner.json"
_PERIOD = 2.0  # seconds between two looks at whether the owner lives
_ENDING = 5.0  # seconds in which a killed process must be gone
_YOUNG = 3600.0  # seconds for which a folder without an owner may still be about to get one


def make_folder() -> Path:
    """A new folder for sockets and logs that only this user may enter. Ray opens the folders in it to everybody.

    Not in Ray's own, /tmp/ray: there other programs would find this Ray and join it.
    """
    usual = tempfile.gettempdir()  # Ray adds some 70 characters, and a socket's path has 107 at most
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=usual if len(usual) <= 18 else "/tmp"))


def own(folder: Path, owners: Sequence[dict[str, Any]], last_words: str = "") -> None:
    """`folder` stays as long as one of these processes (`identify_process`) lives; `last_words`: see `main`."""
    write_json(folder / OWNER, {"owners": list(owners), "last_words": last_words})


def is_owned(folder: Path) -> bool:
    return any(map(process_alive, read_json(folder / OWNER).get("owners", [])))


def members(folder: Path) -> list[int]:
    """This user's processes that belong to `folder`, from /proc; elsewhere none are found."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(entry.name) != os.getpid() and _belongs(Path(entry.path), folder):
                    found.append(int(entry.name))
    return found


def _belongs(process: Path, folder: Path) -> bool:
    if f"{RAY_FOLDER}={folder}\0".encode() in (process / "environ").read_bytes():
        return True
    # a process of Ray's writes its title over its arguments and the first part of its environment
    return (process / "cmdline").read_bytes().startswith(b"ray::") and any(
        os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir()
    )


def remove(folder: Path) -> None:
    """Kills what belongs to `folder`, and removes it."""
    deadline = time.monotonic() + _ENDING
    while (left := members(folder)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def _roots() -> set[str]:
    return {tempfile.gettempdir(), "/tmp"}


def clear_leftovers() -> list[Path]:
    """Removes this user's folders whose owners are gone; returns them."""
    cleared = []
    for root in _roots():
        for folder in Path(root).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                status = folder.lstat()
                if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                    continue
                if (folder / OWNER).exists() and not is_owned(folder):
                    remove(folder)
                    cleared.append(folder)
                elif time.time() - status.st_mtime > _YOUNG:
                    folder.rmdir()  # only if it is empty: its owner was killed before it said so
    return cleared


def main(folder: Path) -> None:
    """Until the owner closes this process's standard input by ending, or nobody owns `folder` any more.

    An owner that could has removed the folder itself; for one that could not, its last words go to stderr.
    """
    while folder.exists() and is_owned(folder):
        if select.select([sys.stdin], [], [], _PERIOD)[0]:
            time.sleep(0.2)  # it closes a moment before it has ended
            if folder.exists() and is_owned(folder):
                time.sleep(_PERIOD)
    if folder.exists():
        last_words = read_json(folder / OWNER).get("last_words")
        remove(folder)
        if last_words:
            with contextlib.suppress(OSError):
                os.write(2, f"{last_words}\n".encode())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are for the owner
    main(Path(sys.argv[1]))
