"""Ctrl-C and SIGTERM, turned into a question that the loop asks between segments."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any


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
