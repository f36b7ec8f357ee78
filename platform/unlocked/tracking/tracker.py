"""The driver's side of tracking: record into the run folder, keep a writer process beside the training."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError, RunFailed
from unlocked.files import read_json
from unlocked.tracking.folder import TrackingFolder, write_target
from unlocked.tracking.spawn import KeptWriter, StudyTracking
from unlocked.tracking.spool import Recorder, Status
from unlocked.tracking.tags import in_order
from unlocked.tracking.uris import OFF, is_relative, resolve_uri, straight

_LOG = logging.getLogger("unlocked.tracking")


class Tracker:
    """Tracking of one run from start to close.

    ```
    tracker = Tracker.start(run_dir, uri=None, experiment="digits", params=flatten(config),
    tags=collect_tags()) tracker.recorder.metrics(50, {"train/loss": 0.7}) run_id = tracker.close("FINISHED",
    summary={"test/accuracy": 0.97})
    ```
    `uri`: null for SQLite under the runs root, `http(s)://`, a database address, or "off" for the spool
    alone.
    """

    def __init__(self, recorder: Recorder, writer: KeptWriter | None) -> None:
        self.recorder = recorder
        self.setting = ""  # equal for runs that differ in their scheme and seed alone
        self.unsent = ""  # one line when close() left points behind, else empty
        self._files = TrackingFolder(recorder.run_dir)
        self._writer = writer

    @classmethod
    def start(
        cls,
        run_dir: Path,
        uri: str | None,
        experiment: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        runs_root: Path | None = None,
        give_up: float = 20.0,
        study: StudyTracking | None = None,
        shown: Sequence[str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Tracker:
        """Open (or resume) the spool and start the writer; takes milliseconds, whatever the server does.

        `study`: for a trial of one; its run is tagged with the study and written by the study's writer.
        `shown`: the params that MLflow shows (default: all); the others are kept beside them. `data`: of the data set,
        its name, digest, sizes and source.
        `runs_root`: where the default database lies (default: the parent of `run_dir`).
        `give_up`: seconds after the end of the run that the writer waits for a server that does not answer.
        """
        run_dir = straight(Path(run_dir))
        root = straight(Path(runs_root or run_dir.parent))
        if not experiment.strip():
            raise ConfigError("tracking.experiment: the name is empty")
        address = resolve_uri(uri, root)
        known = TrackingFolder(run_dir).destination()
        if known is not None and is_relative(uri):  # to the directory in which the run was started
            address = known["uri"]
        recorder = Recorder(run_dir)
        tags = in_order({**tags, **(study.tags if study else {})})
        # before the writer looks: it might find a run that is over
        recorder.start(params, tags, shown=shown and list(shown), data=data and dict(data))
        if address == OFF:
            return cls(recorder, None)
        write_target(run_dir, address, experiment, root)
        options = ["--experiment", experiment, "--runs-root", str(root)]
        options += ["--parent-pid", str(os.getpid()), "--give-up", str(give_up)]
        if study is not None:
            study.write(run_dir, options, address)
            return cls(recorder, None)
        return cls(recorder, KeptWriter(run_dir, options, address))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Records a point per metric, and starts another writer if the last one was killed."""
        self.recorder.metrics(step, values)
        if self._writer is not None:
            self._writer.tend()

    def run_id(self, timeout: float = 0.0) -> str | None:
        """The MLflow run's id, once the writer has it; waits up to `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (known := read_json(self._files.mlflow).get("run_id")) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return known

    def close(
        self,
        status: Status,
        summary: Mapping[str, Any] | None = None,
        timeout: float | None = 60.0,
        page: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Record the end and wait for the writer; the MLflow run id, or None when there is none.

        When something is still on its way after `timeout` seconds or the server stayed away, `unsent` says so
        in one line for the driver to show. Nothing is lost: the writer goes on, or the next command sends the
        rest.
        """
        try:
            self.recorder.finish(status, summary, page)
        except RunFailed:  # the disk is full; what ended the run before that is to be told
            if status == "FINISHED":
                raise
            self.unsent = "tracking: how the run ended could not be recorded"
            return self.run_id()
        finally:
            self.recorder.close()
        if self._writer is None:  # nobody to wait for: tracking is off, or a study's writer sends
            return self.run_id()
        try:
            code = self._writer.wait(timeout)
        except subprocess.TimeoutExpired:
            self.unsent = f"tracking: still sending {self._missing()} in the background"
        else:
            if code != 0:
                self.unsent = (
                    f"tracking: {self._missing()} not sent ({self._reason()}); kept in {self._files.spool}, "
                    "the next unlocked command sends them"
                )
        if self.unsent:
            _LOG.info("%s", self.unsent)  # the driver is the one to say it
        return self.run_id()

    def _missing(self) -> str:
        offset, _ = self._files.sent()
        with self._files.spool.open("rb") as spool:
            spool.seek(offset)
            count = spool.read().count(b"\n")
        return f"{count} record" if count == 1 else f"{count} records"

    def _reason(self) -> str:
        try:
            lines = self._files.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "the writer ended without a word"
