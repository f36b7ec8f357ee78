"""What is made of a run after its end goes the way of its other records: into the spool, and from there to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.spool import Recorder, records


def add_to_finished(run_dir: Path, files: Sequence[Path], folder: str, values: Mapping[str, float]) -> str | None:
    """Records files that lie in the run folder, under `folder`, and metrics at the run's last step.

    Nothing is recorded of a run that goes to no store. Gives one line if the run is not over, and keeps its records as
    they are; `sync_leftovers` sends what was added.
    """
    known = TrackingFolder(run_dir)
    if known.destination() is None:
        return None
    if not known.finished_in_spool():
        return f"{run_dir.name} is not over: nothing was added to its records"
    step, last = 0, {}
    for record in records(known.spool):
        if record["t"] == "metrics":
            step = max(step, int(record["step"]))
        elif record["t"] == "finish":
            last = record
    recorder = Recorder(run_dir)
    try:
        for path in files:
            recorder.artifact(path, folder)
        recorder.metrics(step, values)
        recorder.end_again(last)
    finally:
        recorder.close()
    return None
