from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from unlocked.tracking import Recorder, Tracker, sync_leftovers
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.ui import server_command

Write = Callable[..., subprocess.Popen[bytes]]


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.mark.live
@pytest.mark.slow("a server starts")
def test_a_run_without_its_server_is_kept_and_sent_by_a_later_command(
    tmp_path: Path, empty_database: Path, start, stored, free_port: int
):
    url = f"http://ann:hunter2@127.0.0.1:{free_port}"
    runs, run_dir = tmp_path / "runs", tmp_path / "runs" / "run"
    tracker = Tracker.start(run_dir, url, "test", {"seed": 0}, {"scheme": "dfa"}, give_up=1.0)
    (run_dir / "model.txt").write_text("weights")
    for step in range(2500):
        tracker.recorder.metrics(step, {"train/loss": 1.0 / (step + 1)})
    tracker.recorder.artifact(run_dir / "model.txt", "model")
    assert tracker.close("FINISHED", {"test/accuracy": 0.5}) is None
    assert tracker._writer.process.returncode == 3
    assert "not sent" in tracker.unsent
    assert "\n" not in tracker.unsent
    assert sync_leftovers(runs, url) == []  # still nobody there

    database = stored(empty_database.with_name("served.db"))
    database.path.write_bytes(empty_database.read_bytes())
    log = tmp_path / "server.log"
    command = server_command(f"sqlite:///{database.path}", "127.0.0.1", free_port)
    with log.open("wb") as file:
        server = start(*command, cwd=tmp_path, stdout=file, stderr=file)
    wait_until_up(f"http://127.0.0.1:{free_port}", server, log)
    assert sync_leftovers(runs, url, wait=60.0) == [run_dir]
    assert TrackingFolder(run_dir).sent() == (TrackingFolder(run_dir).size(), "FINISHED")
    assert (database.points(), database.repeated_points()) == ({"train/loss": 2500}, 0)
    assert database.runs() == [("run", "FINISHED")]
    assert sync_leftovers(runs, url) == []
    stored_names = {path.name for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()}
    assert stored_names == {"model.txt", "summary.json"}
    for file in (run_dir / "tracking").iterdir():
        assert b"hunter2" not in file.read_bytes(), file


def test_a_writer_gives_up_on_a_dead_server_with_exit_code_3(tmp_path: Path, write: Write, free_port: int):
    recorder = Recorder(tmp_path / "run")
    recorder.metrics(1, {"a": 1.0})
    recorder.finish("FINISHED", None)
    before = (tmp_path / "run" / "tracking" / "spool.jsonl").read_bytes()
    begin = time.monotonic()
    writer = write(tmp_path / "run", f"http://127.0.0.1:{free_port}", "--give-up", 1)
    assert writer.wait(timeout=30) == 3
    assert time.monotonic() - begin < 20
    assert (tmp_path / "run" / "tracking" / "spool.jsonl").read_bytes() == before
    assert "nobody answers" in (tmp_path / "run" / "tracking" / "writer.log").read_text()


def test_a_dead_server_does_not_hold_up_the_training(tmp_path: Path, free_port: int):
    begin = time.monotonic()
    tracker = Tracker.start(tmp_path / "run", f"http://127.0.0.1:{free_port}", "test", {}, {}, give_up=0.0)
    assert tracker.run_id() is None
    for step in range(100):
        tracker.recorder.metrics(step, {"a": 1.0})
    assert time.monotonic() - begin < 5.0
    tracker.close("FAILED")
    assert tracker._writer.process.returncode == 3


def test_a_password_is_not_in_the_writers_arguments(tmp_path: Path, free_port: int):
    url = f"http://u:hunter2@127.0.0.1:{free_port}"
    tracker = Tracker.start(tmp_path / "run", url, "t", {}, {}, give_up=0.0)
    arguments = tracker._writer.process.args
    assert "hunter2" not in " ".join(arguments)
    assert sys.executable in arguments
    tracker.close("FINISHED")
