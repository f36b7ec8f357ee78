"""The tracking files of one run folder, written so that a kill at any instant leaves them readable.

A run folder may also come from somebody else, or from a disk that failed: what stands in these files is checked, what
is damaged counts as absent, and where records go is believed only with the signature of this user.

    tracking/spool.jsonl   everything recorded, in order; the training process appends
    tracking/driver.json   which process is (or was) training
    tracking/target.json   where the records should go: address without secrets, experiment, runs root; signed
    tracking/mlflow.json   the MLflow run they went to; signed
    tracking/offset        bytes of the spool that have arrived, and the status the run was closed with
    tracking/writer.lock   held by the one writer
    tracking/writer.log    what the writer had to say
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlocked.errors import UnlockedError
from unlocked.files import is_count, read_json, write_json
from unlocked.security import is_signed, redact, sign
from unlocked.tracking.records import parse
from unlocked.tracking.uris import split_credentials, straight

_PIDS = range(1, 2**31)


@dataclass(frozen=True)
class TrackingFolder:
    """Paths under `run_dir/tracking`."""

    run_dir: Path

    @property
    def path(self) -> Path:
        return self.run_dir / "tracking"

    @property
    def spool(self) -> Path:
        return self.path / "spool.jsonl"

    @property
    def driver(self) -> Path:
        return self.path / "driver.json"

    @property
    def target(self) -> Path:
        return self.path / "target.json"

    @property
    def mlflow(self) -> Path:
        return self.path / "mlflow.json"

    @property
    def offset(self) -> Path:
        return self.path / "offset"

    @property
    def lock(self) -> Path:
        return self.path / "writer.lock"

    @property
    def log(self) -> Path:
        return self.path / "writer.log"

    def size(self) -> int:
        try:
            return self.spool.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def sent(self) -> tuple[int, str | None]:
        """How many bytes of the spool have arrived, and the status the MLflow run was closed with.

        Nothing, when that is damaged: what is sent again arrives once.
        """
        state = read_json(self.offset)
        offset, closed = state.get("offset"), state.get("closed")
        if not is_count(offset) or not isinstance(closed, (str, type(None))):
            return 0, None
        return offset, closed

    def is_sent(self) -> bool:
        """Whether all of the spool has arrived and the MLflow run was closed."""
        offset, closed = self.sent()
        return offset >= self.size() and closed is not None

    def process(self) -> dict[str, Any]:
        """The process that is (or was) training; empty when that is not known."""
        identity = read_json(self.driver)
        return identity if is_count(identity.get("pid")) and identity["pid"] in _PIDS else {}

    def destination(self) -> dict[str, str] | None:
        """`target.json` (uri, experiment, runs_root), if this user signed it."""
        target = read_json(self.target)
        words = all(isinstance(target.get(key), str) for key in ("uri", "experiment", "runs_root"))
        return target if words and is_signed(target) else None

    def finished_in_spool(self) -> bool:
        """Is the last complete record a `finish`?"""
        return (parse(_last_line(self.spool) + b"\n") or {}).get("t") == "finish"

    def links(self) -> list[Path]:
        """What would lead a reader or writer of these files out of their folder."""
        return [path for path in (self.path, *(self.path.iterdir() if self.path.is_dir() else ())) if path.is_symlink()]


def write_target(run_dir: Path, address: str, experiment: str, runs_root: Path) -> None:
    """Says, over this user's name, where the records of a run go; passwords stay out of it."""
    shown = redact(split_credentials(address)[0])
    target = {"uri": shown, "experiment": experiment, "runs_root": str(straight(runs_root))}
    with contextlib.suppress(UnlockedError):  # no key can be kept here: what stays unsent has to be adopted
        target = sign(target)
    write_json(TrackingFolder(run_dir).target, target)


def _last_line(path: Path, block: int = 65536) -> bytes:
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            tail = b""
            while end > 0 and tail.count(b"\n") < 2:
                start = max(0, end - block)
                file.seek(start)
                tail = file.read(end - start) + tail
                end = start
    except (FileNotFoundError, NotADirectoryError):
        return b""
    lines = tail.split(b"\n")
    return lines[-2] if len(lines) > 1 and not lines[-1] else b""
