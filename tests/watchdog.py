"""python watchdog.py NAME SUITE     (for conftest.py)

Ends all processes that carry NAME in their environment as soon as the suite, process SUITE, has ended or is stopped.
The suite's end is the end of this process's stdin; a line on stdout says that it is watched. A stopped suite has a few
seconds for its own summary.
No process is killed for any other reason than its NAME, which is drawn for each suite.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

LAST_WORDS = 5.0  # seconds that an interrupted suite has
CLEANERS = 3.0  # seconds that the reapers of private Rays have to remove their folders
CLEANER = b"unlocked.launch.reaper"


def below(mark: re.Pattern[bytes]) -> dict[int, bytes]:
    """Command lines of the processes that the suite started, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.search((entry / "environ").read_bytes()):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX" and int(entry.name) != os.getpid():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def clear(mark: re.Pattern[bytes]) -> int:
    """Kills what is left, the cleaners last; returns the number of processes that were killed."""
    deadline, killed = time.monotonic() + CLEANERS, set[int]()
    while left := below(mark):
        late = time.monotonic() > deadline
        chosen = [pid for pid, command in left.items() if late or CLEANER not in command]
        kill(chosen)
        killed.update(chosen)
        time.sleep(0.05)
    return len(killed)


def main(name: str, suite: int) -> None:
    mark = re.compile(rb"(?:^|\0)UNLOCKED_SUITE=" + re.escape(name.encode()) + rb"[\0/]")
    heard: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: heard.append(number))
    print("watching", flush=True)
    while not heard and not select.select([0], [], [], 0.2)[0]:
        pass
    if heard:
        print("\nthe suite is interrupted: all that it started ends", file=sys.stderr, flush=True)
        clear(mark)
        if not select.select([0], [], [], LAST_WORDS)[0] and os.getppid() == suite:
            kill([suite])
    time.sleep(0.2)
    if (killed := clear(mark)) and not heard:
        print(f"watchdog: killed {killed} processes that the suite left", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
