"""Ctrl-C and SIGTERM, turned into a question that the loop asks between segments."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 3.0  # seconds that a second signal leaves for an orderly end


class StopSignal:
    """Ctrl-C or SIGTERM asks the loop to save and stop; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def ends_at_the_second_signal(
    patience: float = PATIENCE, before: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Ends this process with 130, `patience` seconds after a second Ctrl-C or SIGTERM inside, if Ray is in its way.

    Python's own handlers wait until the main thread comes back from C: a thread that waits for a dead Ray never does.
    What the process leaves behind then is cleared by the reaper of its private Ray.
    `before` is called just before that end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, kernels = socket.socketpair()
    kernels.setblocking(False)
    left = threading.Event()

    def watch() -> None:
        asked = 0
        while asked < 2:
            came = ours.recv(64)  # a byte for each signal
            if not came:
                return
            asked += sum(number in (signal.SIGINT, signal.SIGTERM) for number in came)
        if not left.wait(patience) and "ray" in sys.modules:
            with contextlib.suppress(OSError):
                before()
                os.write(2, b"unlocked: interrupted; the last checkpoint stands\n")
            os._exit(130)

    woken = signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(woken)
        kernels.close()
        watcher.join(1.0)
        ours.close()
