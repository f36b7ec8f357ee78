"""The spool: a run's records as JSON lines in its own folder, appended by the training process.

One line per record, in the order they happened, each with its checksum:
`{"t": "start", ...}`, `{"t": "metrics", "step": 50, "time": ms, "values": {...}}`, `{"t": "artifact", ...}`,
`{"t": "finish", ...}`. Numbers that are not finite are written as Python writes them (NaN, Infinity).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from unlocked.errors import RunFailed
from unlocked.files import write_json
from unlocked.processes import identify_process
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.records import parse, seal

Status = Literal["FINISHED", "FAILED", "KILLED"]
History = dict[str, list[tuple[int, float]]]


class Recorder:
    """Appends what a run reports to `run_dir/tracking/spool.jsonl`; costs a `write`, imports nothing heavy.

    Opening an existing spool resumes it: a last line torn by a kill is cut off, and a point whose step is not
    beyond the last recorded step of its metric is skipped, so a resumed run may replay steps freely.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> recorder = Recorder(folder)
    >>> recorder.metrics(1, {"train/loss": 0.5})
    >>> recorder.metrics(1, {"train/loss": 0.4})     # replayed: already there
    >>> read(folder)
    {'train/loss': [(1, 0.5)]}
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = Path(run_dir)
        self._folder = TrackingFolder(self.run_dir)
        kinds = ((self._folder.path, Path.is_dir, "folder"), (self._folder.spool, Path.is_file, "file"))
        for path, fits, what in kinds:
            if path.exists() and not fits(path):
                raise RunFailed(f"{path}: not a {what}; move it away")
        self._folder.path.mkdir(parents=True, exist_ok=True)
        cut_torn_line(self._folder.spool)
        self._last_step: dict[str, int] = {}
        known = False
        for record in records(self._folder.spool):
            known = known or record["t"] == "spool"
            if record["t"] == "metrics":
                self._last_step.update(dict.fromkeys(record["values"], int(record["step"])))
        self._file = self._folder.spool.open("ab", buffering=0)
        if not known:
            self._append({"t": "spool", "id": uuid.uuid4().hex})
        write_json(self._folder.driver, identify_process(os.getpid()))

    def start(self, params: Mapping[str, Any], tags: Mapping[str, Any], **beside: Any) -> None:
        """The resolved configuration (flat) and the tags; passwords inside addresses are removed.

        `beside`: `shown`, the keys of the params that MLflow is to show (default: all), and `data`, what is known of
        the data set.
        """
        self._append(
            {
                "t": "start",
                "time": _now_ms(),
                "params": {key: str(value) for key, value in params.items()},
                "tags": {key: str(value) for key, value in tags.items()},
                **{key: value for key, value in beside.items() if value is not None},
            }
        )

    def metrics(self, step: int, values: Mapping[str, float], timestamp_ms: int | None = None) -> None:
        """One point per metric at `step`; a point not beyond the metric's last step is skipped."""
        fresh = {key: float(value) for key, value in values.items() if step > self._last_step.get(key, -1)}
        if not fresh:
            return
        stamp = _now_ms() if timestamp_ms is None else timestamp_ms
        self._append({"t": "metrics", "step": int(step), "time": stamp, "values": fresh})
        self._last_step.update(dict.fromkeys(fresh, int(step)))

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file or directory to keep with the run, under `folder`; it must stay until it was sent.

        Raises `ValueError` for one outside the run folder: a writer sends nothing from there.
        """
        # one folder may be reached by several paths: a link to the runs, a way with .. in it
        inside = (path.parent.resolve() / path.name).relative_to(self.run_dir.resolve())
        self._append({"t": "artifact", "path": str(inside), "folder": folder})

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, page: Mapping[str, Any] | None = None
    ) -> None:
        """The run is over. A resumed run may call `start` and go on after it."""
        last: dict[str, Any] = {"status": status, "summary": None if summary is None else dict(summary)}
        if page is not None:  # what its description in the dashboard is made from
            last["page"] = dict(page)
        self._append({"t": "finish", "time": _now_ms(), **last})
        os.fsync(self._file.fileno())

    def end_again(self, last: Mapping[str, Any]) -> None:
        """Repeats the `finish` of a run that is over, after something was added to it."""
        self._append({key: value for key, value in last.items() if key != "crc"})
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _append(self, record: dict[str, Any]) -> None:
        line = seal(record)
        try:
            written = self._file.write(line) or 0
        except OSError as error:
            raise RunFailed(f"cannot write {self._folder.spool}: {error.strerror}") from error
        if written < len(line):
            self._file.truncate(self._file.seek(0, os.SEEK_END) - written)
            raise RunFailed(f"cannot write {self._folder.spool}: the disk is full")


def read(run_dir: Path) -> History:
    """Every metric of the run as `[(step, value), ...]`, from the spool alone."""
    history: History = {}
    for record in records(TrackingFolder(Path(run_dir)).spool):
        if record["t"] == "metrics":
            for key, value in record["values"].items():
                history.setdefault(key, []).append((int(record["step"]), float(value)))
    return history


def records(spool: Path) -> Iterator[dict[str, Any]]:
    """The complete records of a spool. A damaged line (a disk error) is passed over."""
    if not spool.is_file():
        return
    with spool.open("rb") as file:
        for line in file:
            if (record := parse(line)) is not None:
                yield record


def first_records(spool: Path) -> tuple[str, dict[str, Any]]:
    """The spool's id, and the run's first `start` (empty when there is none)."""
    spool_id, start = "", {}
    for record in records(spool):
        if record["t"] == "spool":
            spool_id = record["id"]
        elif record["t"] == "start":
            start = record
            break
    return spool_id, start


def ends_a_line(spool: Path, offset: int) -> bool:
    """Does a record end right before `offset`?"""
    if offset == 0:
        return True
    with spool.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


def is_torn(spool: Path, offset: int) -> bool:
    """Is there no complete record from `offset` on?"""
    with spool.open("rb") as file:
        file.seek(offset)
        return b"\n" not in file.read()


def cut_torn_line(spool: Path, block: int = 65536) -> None:
    """Cut off what a kill left of a last line, so that the next one begins on its own."""
    if not spool.exists():
        return
    with spool.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep > 0:
            start = max(0, keep - block)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)


def _now_ms() -> int:
    return int(time.time() * 1000)
