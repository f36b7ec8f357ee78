"""Standard streams as a command finds them: closed, full, without a size, in an encoding with few letters."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from unlocked import strict_json
from unlocked.errors import UnlockedError

NARROWEST, WIDEST = 20, 10_000  # columns that a terminal can have; others are no size


class OutputLost(UnlockedError):
    """Standard output takes no more. A reader that left (`| head`) is no failure, a full disk is one."""

    def __init__(self, error: OSError):
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.reader_left = isinstance(error, BrokenPipeError)


_to_erase: list[Callable[[], None]] = []


def erase_before_text(erase: Callable[[], None]) -> None:
    """What stands on the terminal for now goes before the next text is written, on either stream."""
    _to_erase.append(erase)


def _erase() -> None:
    while _to_erase:
        _to_erase.pop()()


class Output:
    """A text stream whose `write` and `flush` raise `OutputLost` if the stream's raise `OSError`."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        _erase()
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputLost(error) from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputLost(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Lossy:
    """A text stream that drops what it cannot write: messages that must not end what they tell of."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        _erase()
        if not self._lost:
            with self._losing():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if not self._lost:
            with self._losing():
                self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OutputLost):
            self._lost = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_for_json: list[TextIO] = []  # standard output, while everything else goes to standard error


@contextlib.contextmanager
def json_alone(asked: bool) -> Iterator[None]:
    """With `--json` standard output holds nothing but what `print_json` prints: the rest goes to standard error."""
    if not asked:
        yield
        return
    _for_json.append(sys.stdout)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = _for_json.pop()


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    print(strict_json.dumps(value), file=_for_json[-1] if _for_json else sys.stdout, flush=True)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Makes the process's streams fit for a command, and takes that back at the end.

    Closed ones are opened on the null device, or the next file that is opened would be written to as standard output.
    Letters that an encoding lacks become `?`. Standard output raises `OutputLost`, standard error drops what it cannot
    write. COLUMNS and LINES that are no size are forgotten.
    """
    _open_closed()
    for name in ("COLUMNS", "LINES"):
        if not _is_size(os.environ.get(name, "80")):
            del os.environ[name]
    before = sys.stdout, sys.stderr
    for stream in before:
        with contextlib.suppress(AttributeError, ValueError):  # not a file: captured
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout, sys.stderr = Output(before[0]), Lossy(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            _abandon_if_lost(stream)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(WIDEST)) and NARROWEST <= int(text) <= WIDEST


def _open_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  (for good)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


def _abandon_if_lost(stream: TextIO) -> None:
    """What is still held in a stream that cannot be written goes to the null device: Python would try at its end."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
