"""The one process that writes a run to MLflow: `python -m unlocked.tracking.writer RUN_DIR --experiment X`.

It follows the run's spool and sends it in batches, remembers after each batch how far it got, waits out a
server that is away, and ends when the run has ended and everything has arrived. Exit codes: 0 all sent (or
another writer is at it), 3 given up because the server stayed away, 4 a run whose files cannot be used; the spool then
keeps everything for the next time.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError
from unlocked.files import locked, write_json
from unlocked.processes import identify_process, process_alive
from unlocked.security import RedactingStream
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.records import parse
from unlocked.tracking.sink import METRICS_PER_BATCH, Point, RunDeleted, RunGone, Sink, warn
from unlocked.tracking.spawn import ALL_SENT, GIVEN_UP, SET_ASIDE
from unlocked.tracking.spool import ends_a_line, first_records, is_torn
from unlocked.tracking.system import SystemMonitor
from unlocked.tracking.uris import (
    URI_VARIABLE,
    reachable,
    resolve_uri,
    split_credentials,
)

_POLL, _SEND_EVERY, _SAMPLE_EVERY = 0.1, 2.0, 10.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 15.0


class Writer:
    """Follows one spool until the run is over and sent; `parent` is the training process, None if gone."""

    def __init__(self, run_dir: Path, sink: Sink, parent: dict[str, Any] | None, give_up: float) -> None:
        self._files, self._sink, self._parent, self._give_up = TrackingFolder(run_dir), sink, parent, give_up
        self._monitor = SystemMonitor(parent["pid"]) if parent else None
        self._samples: deque[Point] = deque(maxlen=METRICS_PER_BATCH)
        self._offset, self._closed = self._files.sent()
        self._began = int(first_records(self._files.spool)[1].get("time", 0))
        self._connected = False
        self._last_success = self._last_sample = float("-inf")
        self._ended_at: float | None = None
        self._size_seen = -1
        self._finish_seen = False

    def run(self) -> int:
        """Wait for the lock as long as the training lives (a predecessor may be finishing), then write."""
        while True:
            with locked(self._files.lock, timeout=1.0 if self._parent else 0.0) as held:
                if held:
                    return self._write()
            if self._parent is None:
                return ALL_SENT
            if self._ending() and self._out_of_time():
                return GIVEN_UP

    def _write(self) -> int:
        self._offset, self._closed = self._files.sent()
        if not ends_a_line(self._files.spool, self._offset):
            self._offset = 0  # the spool lost its tail in a power cut: send it all again
        delay, complaint, next_send = _FIRST_DELAY, "", 0.0
        while True:
            dead = not self._alive()  # looked at before reading, so the last words are read
            ending = self._ending()
            if ending or time.monotonic() >= next_send:
                try:
                    self._connect()
                    self._send()
                    if self._over(dead):
                        return ALL_SENT
                    delay, next_send, complaint = _FIRST_DELAY, time.monotonic() + _SEND_EVERY, ""
                except RunGone:
                    self._forget()
                    self._pause(delay)
                except RunDeleted:
                    warn("the run was deleted in MLflow: nothing more is sent")
                    self._save(self._files.size(), "DELETED")
                    return ALL_SENT
                except Exception as error:
                    if str(error) != complaint:
                        complaint = str(error)
                        warn(f"{self._sink.uri} does not take it: {type(error).__name__}: {error}")
                    if ending and self._out_of_time():
                        return GIVEN_UP
                    self._pause(delay)
                    delay = min(2 * delay, _LONGEST_DELAY)
                    next_send = 0.0
            self._sample()
            time.sleep(_POLL)

    def _connect(self) -> None:
        if not reachable(self._sink.uri, timeout=2.0):
            raise ConnectionError("nobody answers")
        if self._connected:
            return
        spool_id, start = first_records(self._files.spool)
        if self._sink.open(spool_id, start):
            self._offset, self._closed = 0, None
        if self._offset < self._files.size() or (self._parent and not self._finish_seen):
            self._closed = None
            self._sink.resume()
        self._connected = True

    def _send(self) -> None:
        """Everything complete in the spool from the offset on; the offset is saved after each batch."""
        if self._offset < self._files.size():
            points: list[Point] = []
            with self._files.spool.open("rb") as spool:
                spool.seek(end := self._offset)
                for line in spool:
                    if not line.endswith(b"\n"):
                        break
                    record = parse(line) or {"t": "damaged"}
                    if record["t"] == "metrics":
                        points += [
                            Point(key, value, record["time"], record["step"]) for key, value in record["values"].items()
                        ]
                        end += len(line)
                        if len(points) >= METRICS_PER_BATCH:
                            self._deliver(points, end)
                            points = []
                    else:
                        self._deliver(points, end)
                        points = []
                        self._tell(record)
                        end += len(line)
                        self._save(end, self._closed)
            self._deliver(points, end)
        if self._samples:
            self._sink.points(list(self._samples))
            self._samples.clear()
        self._last_success = time.monotonic()

    def _deliver(self, points: list[Point], end: int) -> None:
        if end == self._offset:
            return
        self._sink.points(points)
        self._save(end, self._closed)

    def _tell(self, record: dict[str, Any]) -> None:
        if record["t"] == "start":
            if self._closed is not None:
                self._sink.resume()
                self._closed = None
            self._sink.start(record["params"], record["tags"], record.get("shown"), record.get("data"))
        elif record["t"] == "artifact":
            self._sink.artifact(record["path"], record["folder"])
        elif record["t"] == "finish":
            self._sink.finish(record["status"], record.get("time"), record.get("summary"), record.get("page"))
            self._closed = record["status"]
        elif record["t"] == "damaged":
            warn(f"{self._files.spool}: a damaged record is passed over")

    def _over(self, dead: bool) -> bool:
        """All sent, and the run closed: by its own word, or because its process was gone before we looked."""
        if self._offset < self._files.size() and not is_torn(self._files.spool, self._offset):
            return False
        if self._closed is None and dead:
            self._sink.finish("KILLED", None, None)
            self._save(self._offset, "KILLED")
        return self._closed is not None

    def _save(self, offset: int, closed: str | None) -> None:
        self._offset, self._closed, self._last_success = offset, closed, time.monotonic()
        write_json(self._files.offset, {"offset": offset, "closed": closed})

    def _forget(self) -> None:
        warn("MLflow no longer knows the run: it is made again from the spool")
        self._files.mlflow.unlink(missing_ok=True)
        self._connected, self._offset, self._closed = False, 0, None

    def _alive(self) -> bool:
        return self._parent is not None and process_alive(self._parent)

    def _ending(self) -> bool:
        """Has the run said `finish`, or has its process gone?"""
        if (size := self._files.size()) != self._size_seen:
            self._size_seen, self._finish_seen = size, self._files.finished_in_spool()
        ending = self._finish_seen or not self._alive()
        if not ending:
            self._ended_at = None
        elif self._ended_at is None:
            self._ended_at = time.monotonic()
        return ending

    def _out_of_time(self) -> bool:
        since = max(self._ended_at or 0.0, self._last_success)
        return time.monotonic() - since >= self._give_up

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._ending():
                time.sleep(_FIRST_DELAY)  # the end of a run is no time for long waits
                return
            self._sample()
            time.sleep(_POLL)

    def _sample(self) -> None:
        now = time.monotonic()
        if self._monitor is None or now - self._last_sample < _SAMPLE_EVERY:
            return
        self._last_sample = now
        stamp = int(time.time() * 1000)
        second = max(0, stamp - self._began) // 1000
        self._samples += [Point(key, value, stamp, second) for key, value in self._monitor.sample().items()]


def write_run(
    run_dir: Path,
    uri: str | None,
    experiment: str | None,
    runs_root: Path | None,
    parent: int | None,
    give_up: float,
    follows: bool = False,
) -> int:
    """Write one run; what is not given is read from the run's own `target.json`, which this user must have signed.

    `follows`: one of several runs, each trained by the process that its own `driver.json` names.
    """
    files = TrackingFolder(run_dir)
    target = files.destination() or {}
    if uri is None and not target:
        raise ConfigError(f"{files.target}: not signed by this user")
    root = runs_root or Path(target.get("runs_root", run_dir.parent))
    address, credentials = split_credentials(resolve_uri(uri or target.get("uri"), root))
    os.environ.update(credentials)
    sink = Sink(run_dir, address, experiment or target.get("experiment", "unlocked"), root)
    identity = None
    if parent is not None:
        driver = files.process()
        parent = driver.get("pid", parent) if follows else parent
        identity = driver if driver.get("pid") == parent else identify_process(parent)
    return Writer(run_dir, sink, identity, give_up).run()


def main(arguments: Sequence[str] | None = None, nice: Callable[[int], int] = os.nice) -> int:
    parser = argparse.ArgumentParser(prog="python -m unlocked.tracking.writer", description=__doc__)
    add = parser.add_argument
    add("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    add("--uri", default=os.environ.get(URI_VARIABLE), help=f"default: ${URI_VARIABLE}, else target.json")
    add("--experiment", help="default: from target.json")
    add("--runs-root", type=Path, help="where a local store keeps artifacts (default: the run's parent)")
    add("--parent-pid", type=int, help="the training process; without it the run counts as over")
    add("--follow", action="store_true", help="then the run folders that standard input names, a line each")
    add("--give-up", type=float, default=20.0, help="seconds after the end to wait for a dead server")
    options = parser.parse_args(arguments)
    os.environ.update(MLFLOW_ENVIRONMENT, MLFLOW_LOGGING_LEVEL="CRITICAL", OMP_NUM_THREADS="1")
    sys.stderr = RedactingStream(sys.stderr)
    nice(5)  # training comes first
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray stops a job with all its children: how it ended must be sent
    code, gave_up = ALL_SENT, False
    named = (Path(line.rstrip("\n")) for line in sys.stdin) if options.follow else ()
    for run_dir in chain(options.run_dirs, named):
        patience = 0.0 if gave_up else options.give_up  # the others go to the same server
        try:
            sent = write_run(
                run_dir,
                options.uri,
                options.experiment,
                options.runs_root,
                options.parent_pid,
                patience,
                options.follow,
            )
        except Exception as error:  # of this run alone: the others are sent
            warn(f"{run_dir} is set aside: {type(error).__name__}: {error}")
            sent = SET_ASIDE
        code, gave_up = max(code, sent), gave_up or sent == GIVEN_UP
        if gave_up and not options.follow:
            break
    return code


if __name__ == "__main__":
    exit_code = main()
    sys.stderr.flush()
    os._exit(exit_code)  # MLflow's own tidying takes a second, and close() waits
