"""One writer for all the runs of a study."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest

from unlocked.tracking import Recorder, StudyRuns, Tracker, writer


def record(run_dir: Path, study: StudyRuns, uri: str | None = None) -> str | None:
    tracker = Tracker.start(run_dir, uri, "test", {"seed": "0"}, {"scheme": "dni"}, study=study)
    tracker.recorder.metrics(1, {"train/loss": 0.5})
    return tracker.close("FINISHED", {"test/accuracy": 0.9})


@pytest.fixture
def study(runs: Path) -> StudyRuns:
    Recorder(runs / "study").close()
    return StudyRuns(runs / "study")


@pytest.mark.timeout(120)
def test_the_runs_of_a_study_are_sent_in_turn_by_one_process(runs: Path, study: StudyRuns, stored):
    for name in ("a", "b", "c"):
        record(runs / name, study)
    only = study._writer
    assert study.close()
    assert study._writer is only
    database = stored(runs / "mlflow.db")
    assert database.runs() == [("a", "FINISHED"), ("b", "FINISHED"), ("c", "FINISHED")]
    assert database.points() == {"train/loss": 3}
    assert database.query("select distinct value from tags where key = 'unlocked.parent'") == [("study",)]


@pytest.mark.timeout(120)
def test_a_writer_that_died_is_replaced(runs: Path, study: StudyRuns, stored):
    record(runs / "a", study)
    study._writer.kill()
    study._writer.wait()
    record(runs / "b", study)
    assert study.close()
    assert sorted(stored(runs / "mlflow.db").runs()) == [("a", "FINISHED"), ("b", "FINISHED")]


@pytest.mark.timeout(120)
def test_a_server_that_stays_away_is_waited_for_once_and_not_by_every_run(runs: Path, study: StudyRuns, free_port: int):
    uri = f"http://127.0.0.1:{free_port}"
    study.write(runs / "study", ["--experiment", "test", "--give-up", "1"], uri)
    for name in ("a", "b", "c", "d"):
        record(runs / name, study, uri)
    assert not study.close(timeout=60)
    assert study._writer.poll() == 3


def test_tracking_that_is_off_starts_no_writer(runs: Path, study: StudyRuns):
    assert record(runs / "a", study, "off") is None
    assert study._writer is None
    assert study.close()


def test_a_writer_outlives_the_signal_that_stops_a_job_with_all_its_children(monkeypatch: pytest.MonkeyPatch):
    handlers: dict[int, object] = {}
    monkeypatch.setattr(writer.signal, "signal", lambda number, handler: handlers.update({number: handler}))
    monkeypatch.setattr(writer.sys, "stderr", io.StringIO())
    monkeypatch.setattr(writer.os, "environ", dict(os.environ))
    monkeypatch.setattr(writer, "write_run", lambda *_: writer.ALL_SENT)
    writer.main(["nowhere"], nice=lambda by: by)
    assert handlers == {signal.SIGTERM: signal.SIG_IGN}
