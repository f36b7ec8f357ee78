"""`unlocked COMMAND ...`: parses, dispatches, and ends every failure in one line and the right exit code.

0 done, 1 a run failed, 2 the input is wrong and nothing was started, 130 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from unlocked.blame import knowing_of_ctrl_c, refuse_users_fault
from unlocked.cli.alive import Alive
from unlocked.cli.parser import build_parser, parse
from unlocked.cli.terminal import OutputLost, json_alone, standard_streams
from unlocked.errors import DataError, UnlockedError, in_one_line
from unlocked.files import DISK_ERRORS
from unlocked.launch.interrupt import ends_at_the_second_signal
from unlocked.network import spare_loopback
from unlocked.schema.renamed import RenamedKey
from unlocked.security import RedactingStream, redact
from unlocked.security.names import without_controls


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    started = time.time()
    with standard_streams():
        try:
            code = 0
            try:
                code = _command(argv, started)
            finally:
                sys.stdout.flush()  # or a full disk would be found out after the exit code
            return code
        except OutputLost as lost:
            if lost.reader_left:  # `unlocked list models | head`
                return code
            print(f"unlocked: {lost}", file=sys.stderr)
            return code or lost.exit_code


def _end_without_last_words() -> None:
    from unlocked.launch import private_ray

    private_ray.last_words("")


def _command(argv: Sequence[str] | None, started: float) -> int:
    if "UNLOCKED_JOB" in os.environ:  # a job's log is shown to everybody on the cluster
        sys.stdout, sys.stderr = RedactingStream(sys.stdout), RedactingStream(sys.stderr)
    spare_loopback()
    parser = build_parser()
    arguments = parse(parser, argv)
    arguments.started = started
    try:
        with ends_at_the_second_signal(before=_end_without_last_words):
            return _call(arguments)
    except OutputLost:
        raise
    except UnlockedError as error:
        detail = getattr(error, "detail", None)
        if detail:
            print(redact(detail.rstrip()), file=sys.stderr)
        said = str(error)
        if isinstance(error, DataError):  # a file's name may hold a line feed
            said = in_one_line(said)
        print(without_controls(redact(f"unlocked: {said}")), file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # of an argument
            print(without_controls(f"unlocked: {str(error.filename)[:80]} ...: {error.strerror}"), file=sys.stderr)
            return 2
        if error.errno not in DISK_ERRORS:
            raise
        print(redact(f"unlocked: {error.filename or 'a file'}: {error.strerror}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("unlocked: interrupted; the last checkpoint stands", file=sys.stderr)
        return 130


def _call(arguments: argparse.Namespace) -> int:
    """The command; a mistake in a user's own code ends it in one line, one of ours in its traceback."""
    try:
        json = getattr(arguments, "json", False)
        quiet = json or not arguments.at_first
        with (
            knowing_of_ctrl_c() as is_ctrl_c,
            _old_keys_in_one_line(),
            json_alone(json),
            Alive(quiet, lines=False) as alive,
        ):
            alive.say(arguments.at_first)
            out: int = arguments.command(arguments)
            return out
    except BaseException as error:
        if not is_ctrl_c(error):
            refuse_users_fault(error)
        raise


@contextlib.contextmanager
def _old_keys_in_one_line() -> Iterator[None]:
    """Says each old key once, on stderr, without the line of code that read it."""
    told: set[str] = set()
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, RenamedKey):
            shown(message, category, *where, **more)
        elif str(message) not in told:
            told.add(str(message))
            print(redact(f"unlocked: note: {message}"), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedKey)
        warnings.showwarning = show
        yield
