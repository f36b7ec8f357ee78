"""A sign of life: the thing that a command is at, from its first moment on. Imports nothing that takes time."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Self

from unlocked.cli.terminal import Lossy, erase_before_text

IMPORTING = "importing PyTorch"  # what takes the first seconds of most commands
_ERASE = "\r\x1b[2K"


class Alive:
    """On a terminal one line that goes before other text comes; elsewhere a line each, or with `lines=False` none.

    >>> with Alive() as alive:
    ...     alive.say("loading data: digits")
    loading data: digits ...
    """

    def __init__(self, quiet: bool = False, lines: bool = True):
        self._out = Lossy(sys.stdout)
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._silent = quiet or not (self._terminal or lines)
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def say(self, text: str) -> None:
        if self._silent or text == self._shown:
            return
        self.stop()
        if self._terminal:
            self._out.write(f"{text} ..."[: shutil.get_terminal_size().columns - 1])
            erase_before_text(self.stop)
        else:
            self._out.write(f"{text} ...\n")
        self._shown = text
        self._out.flush()

    def stop(self) -> None:
        if self._shown and self._terminal:
            self._shown = ""  # or erasing would erase
            self._out.write(_ERASE)
            self._out.flush()
