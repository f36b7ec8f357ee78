"""Whose line it was: the place in a user's own code at which an exception was raised."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from unlocked.errors import RunFailed, UnlockedError, reason


def said(error: BaseException) -> str:
    """`ValueError: what it says`."""
    if isinstance(error, SystemExit):
        return f"it ends the process, with exit code {error.code}"
    name, text = type(error).__name__, reason(error)
    return text if text == name else f"{name}: {text}"


def named(thing: Any) -> str:
    """The name of a function or class; of anything else that of its type."""
    return getattr(thing, "__name__", type(thing).__name__)


def defined(function: Any) -> str | None:
    """`my_task.py:24`, where a function or method begins; None if it has no source."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return f"{_shown(code.co_filename)}:{code.co_firstlineno}" if code is not None else None


def place(error: BaseException, function: Callable[..., Any] | None = None) -> str | None:
    """`my_data.py:12`, of the innermost line in a user's code that the exception passed; with `function` also in that
    function's file. None if it passed no such line."""
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    own = code.co_filename if code is not None else None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == own or is_users(frame.filename):
            return f"{_shown(frame.filename)}:{frame.lineno}"
    return None


def refuse_users_fault(error: BaseException) -> None:
    """Raises `RunFailed`, one line, for an exception of a user's own code, or of a library that it called.

    What the platform raised, also when a user's scheme called it (a lost connection, say), stays as it is; so does a
    Ctrl-C that a handler of the platform's took.
    """
    if isinstance(error, UnlockedError):
        return
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # which no generator that it passed lets through
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_users(frame.filename):
            raise RunFailed(f"{_shown(frame.filename)}:{frame.lineno}: {said(error)}") from error
        path = Path(frame.filename)
        if path.is_relative_to(Path(__file__).parent):
            return
        if not isinstance(error, Exception) and "ray" in path.parts:  # its handler of SIGTERM exits, wherever that came
            return


@contextlib.contextmanager
def knowing_of_ctrl_c() -> Iterator[Callable[[BaseException], bool]]:
    """Gives a function that tells whether an exception is a Ctrl-C of this time: a user's code may raise
    KeyboardInterrupt by itself."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        assert callable(before)
        before(number, frame)

    def is_ctrl_c(error: BaseException) -> bool:
        return bool(noted) and isinstance(error, KeyboardInterrupt)

    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield is_ctrl_c
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield is_ctrl_c
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)


def is_users(file: str) -> bool:
    """Whether a file is neither of the platform nor of Python and what is installed in it."""
    if file.startswith("<frozen") or file.endswith((".pyx", ".pxi")):  # Ray's compiled code names its source
        return False
    path = Path(file)
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    return file.startswith("<") or not (installed or any(path.is_relative_to(home) for home in _ELSEWHERE))


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


_MODELS = importlib.util.find_spec("unlocked_models")  # which brings PyTorch if it is imported: seconds
_ELSEWHERE = (
    Path(__file__).parent,
    *([Path(_MODELS.origin).parent] if _MODELS is not None and _MODELS.origin else []),
    Path(sys.prefix),
    *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")),
)
