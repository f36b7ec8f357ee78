"""Writer processes: one per run, or one for all the runs of a study."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from unlocked.network import spare_loopback
from unlocked.search_path import child_environment
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.uris import URI_VARIABLE

ENDINGS = ALL_SENT, GIVEN_UP, SET_ASIDE = 0, 3, 4  # exit codes of a writer
RESTARTS = 3  # of a writer that is killed again and again


def spawn_writer(
    run_dirs: Sequence[Path],
    options: Sequence[str],
    uri: str | None,
    stdin: int = subprocess.DEVNULL,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A writer in its own session, so that Ctrl-C reaches the training only; it talks to `writer.log`."""
    command = [sys.executable, "-m", "unlocked.tracking.writer", *map(str, run_dirs), *options]
    from unlocked.processes import RAY_FOLDER  # a writer outlives the Ray that its run trained in

    environment = {name: value for name, value in child_environment().items() if name not in (URI_VARIABLE, RAY_FOLDER)}
    environment["CUDA_VISIBLE_DEVICES"] = ""  # the writer has no business on an accelerator
    spare_loopback(environment)
    if uri is not None:
        environment[URI_VARIABLE] = uri
    with (log or TrackingFolder(run_dirs[0]).log).open("ab") as words:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=stdin,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )


def was_killed(writer: subprocess.Popen[bytes]) -> bool:
    """Whether it ended without a word of its own: another one goes on from what its runs remember."""
    return writer.poll() is not None and writer.returncode not in ENDINGS


class KeptWriter:
    """A writer of one run that is started again if it is killed."""

    def __init__(self, run_dir: Path, options: Sequence[str], uri: str) -> None:
        self._start: Callable[[], subprocess.Popen[bytes]] = lambda: spawn_writer([run_dir], options, uri)
        self.process, self._restarts = self._start(), 0

    def tend(self) -> bool:
        """Starts another one if this was killed; True then. Costs microseconds otherwise."""
        if not was_killed(self.process) or self._restarts == RESTARTS:
            return False
        self.process, self._restarts = self._start(), self._restarts + 1
        return True

    def wait(self, timeout: float | None) -> int:
        """The exit code of the last one; raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            code = self.process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not self.tend():
                return code


class StudyTracking(Protocol):
    """The tracking of a study, as its runs know it."""

    tags: dict[str, str]
    swept: Sequence[str]  # the keys that the study varies: params of every trial, whatever their values

    def write(self, run_dir: Path, options: Sequence[str], uri: str) -> None: ...


class StudyRuns:
    """What the runs of a study share: the tag that nests them under it, and one writer that sends them in turn.

    A writer's start costs seconds, most of them the import of MLflow: as much as a small run.
    """

    def __init__(self, study_dir: Path) -> None:
        self.tags = {"unlocked.parent": study_dir.name}
        self.swept: Sequence[str] = ()
        self._log = TrackingFolder(study_dir).log
        self._writer: subprocess.Popen[bytes] | None = None
        self._handed: list[Path] = []
        self._again: tuple[Sequence[str], str] = [], ""  # how a writer is started
        self._restarts = 0

    def write(self, run_dir: Path, options: Sequence[str], uri: str) -> None:
        """Have a run sent, after those before it; the writer is started with the first."""
        if self._writer is not None and self._writer.stdin is not None:
            try:
                self._writer.stdin.write(f"{run_dir}\n".encode())
                self._writer.stdin.flush()
                self._handed.append(run_dir)
                return
            except BrokenPipeError:  # it died: the next one takes over, from what each run remembers
                self._writer.wait()
        self._handed.append(run_dir)
        self._again = [*options, "--follow"], uri
        self._writer = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """A writer of all that is not sent yet."""
        self._handed = [run_dir for run_dir in self._handed if not TrackingFolder(run_dir).is_sent()]
        return spawn_writer(self._handed, *self._again, subprocess.PIPE, self._log)

    def close(self, timeout: float = 60.0) -> bool:
        """Wait until all runs are sent; False when some are still on their way, or are left to the next command."""
        if self._writer is None or self._writer.stdin is None:
            return True
        deadline = time.monotonic() + timeout
        while True:
            if self._writer.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # it was killed
                    self._writer.stdin.close()
            try:
                code = self._writer.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
            if not was_killed(self._writer) or self._restarts == RESTARTS:
                return code == ALL_SENT
            if all(TrackingFolder(run_dir).is_sent() for run_dir in self._handed):
                return True
            self._writer, self._restarts = self._start(), self._restarts + 1
