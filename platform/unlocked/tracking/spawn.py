"""Writer processes: one per run, or one for all the runs of a study."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from unlocked.network import spare_loopback
from unlocked.search_path import child_environment
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.uris import URI_VARIABLE


def spawn_writer(
    run_dirs: Sequence[Path], options: Sequence[str], uri: str | None, stdin: int = subprocess.DEVNULL,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A writer in its own session, so that Ctrl-C reaches the training only; it talks to `writer.log`."""
    command = [sys.executable, "-m", "unlocked.tracking.writer", *map(str, run_dirs), *options]
    environment = {name: value for name, value in child_environment().items() if name != URI_VARIABLE}
    environment["CUDA_VISIBLE_DEVICES"] = ""      # the writer has no business on an accelerator
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


class StudyTracking(Protocol):
    """The tracking of a study, as its runs know it."""

    tags: dict[str, str]

    def write(self, run_dir: Path, options: Sequence[str], uri: str) -> None: ...


class StudyRuns:
    """What the runs of a study share: the tag that nests them under it, and one writer that sends them in turn.

    A writer's start costs seconds, most of them the import of MLflow: as much as a small run.
    """

    def __init__(self, study_dir: Path) -> None:
        self.tags = {"unlocked.parent": study_dir.name}
        self._log = TrackingFolder(study_dir).log
        self._writer: subprocess.Popen[bytes] | None = None

    def write(self, run_dir: Path, options: Sequence[str], uri: str) -> None:
        """Have a run sent, after those before it; the writer is started with the first."""
        if self._writer is not None and self._writer.stdin is not None:
            try:
                self._writer.stdin.write(f"{run_dir}\n".encode())
                self._writer.stdin.flush()
                return
            except BrokenPipeError:               # it died: the next one takes over, from what each run remembers
                self._writer.wait()
        self._writer = spawn_writer([run_dir], [*options, "--follow"], uri, subprocess.PIPE, self._log)

    def close(self, timeout: float = 60.0) -> bool:
        """Wait until all runs are sent; False when some are still on their way, or are left to the next command."""
        if self._writer is None or self._writer.stdin is None:
            return True
        try:
            self._writer.stdin.close()
            return self._writer.wait(timeout) == 0
        except (subprocess.TimeoutExpired, BrokenPipeError):
            return False
