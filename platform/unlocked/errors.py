"""Errors for the person at the keyboard: one readable line each, and the exit code they end in."""

from __future__ import annotations


class UnlockedError(Exception):
    """Anything that ends a command with one line on stderr. `exit_code` 1 unless a subclass says otherwise."""

    exit_code = 1


class ConfigError(UnlockedError):
    """A configuration that cannot be run; names the key, the value and what was expected. Exit code 2."""

    exit_code = 2


class DataError(UnlockedError):
    """Data that is missing, corrupt or does not fit the model. Exit code 2: nothing was started."""

    exit_code = 2


class RunFailed(UnlockedError):
    """A run that started and cannot go on (NaN loss, dead worker, full disk)."""


class RunInterrupted(UnlockedError):
    """Ctrl-C: the run was saved and can be resumed. Exit code 130, as shells expect of SIGINT."""

    exit_code = 130


class RunPruned(RunInterrupted):
    """Ended early by whoever watches the run, after `epoch`: it was saved and can be resumed."""

    def __init__(self, message: str, epoch: int):
        super().__init__(message)
        self.epoch = epoch


def in_one_line(text: str) -> str:
    """What a user's code says, of as many lines as it likes."""
    return " ".join(text.split())


def reason(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    try:
        text = str(error)
    except Exception:  # a class of a user's own, which fails to say what failed
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
