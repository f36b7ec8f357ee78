"""A writer that is killed is started again: by the next point, or at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from unlocked.errors import RunFailed
from unlocked.files import write_json
from unlocked.tracking import Recorder, StudyRuns, Tracker, spawn
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.spawn import RESTARTS

LIVES, DIES, SENDS, GIVES_UP = "exec sleep 60", "kill -9 $$", "exit 0", "exit 3"


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Has writers be these shell scripts, the last one for all that follow; what was started, for which runs."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    started: list[tuple[subprocess.Popen[bytes], list[str]]] = []

    def become(*scripts: str) -> list[tuple[subprocess.Popen[bytes], list[str]]]:
        def start(
            run_dirs: Sequence[Path],
            options: object,
            uri: str,
            stdin: int = subprocess.DEVNULL,
            log: Path | None = None,
        ) -> subprocess.Popen[bytes]:
            script = scripts[min(len(started), len(scripts) - 1)]
            process = subprocess.Popen(["sh", "-c", script], stdin=stdin)
            started.append((process, [run_dir.name for run_dir in run_dirs]))
            return process

        monkeypatch.setattr(spawn, "spawn_writer", start)
        return started

    yield become
    for process, _ in started:
        process.kill()
        process.wait()


def track(run_dir: Path, study: StudyRuns | None = None) -> Tracker:
    return Tracker.start(run_dir, None, "test", {}, {}, study=study)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def mark_sent(run_dir: Path) -> None:
    files = TrackingFolder(run_dir)
    write_json(files.offset, {"offset": files.size(), "closed": "FINISHED"})


def test_the_next_point_starts_another_writer(tmp_path: Path, writers: Callable):
    started = writers(LIVES, SENDS)
    tracker = track(tmp_path / "run")
    tracker.metrics(1, {"train/loss": 0.5})
    assert len(started) == 1
    kill(started[0][0])
    tracker.metrics(2, {"train/loss": 0.4})
    assert len(started) == 2
    tracker.close("FINISHED")
    assert tracker.unsent == ""
    assert len(started) == 2


def test_a_writer_killed_at_the_end_is_replaced_there(tmp_path: Path, writers: Callable):
    started = writers(DIES, SENDS)
    tracker = track(tmp_path / "run")
    tracker.close("FINISHED")
    assert len(started) == 2
    assert tracker.unsent == ""


def test_a_writer_killed_again_and_again_is_left_and_the_run_says_what_is_unsent(tmp_path: Path, writers: Callable):
    started = writers(DIES)
    tracker = track(tmp_path / "run")
    tracker.close("FINISHED")
    assert len(started) == 1 + RESTARTS
    assert tracker.unsent.startswith("tracking: 3 records not sent")
    assert "the next unlocked command sends them" in tracker.unsent


def test_a_writer_that_gave_up_is_not_started_again(tmp_path: Path, writers: Callable):
    started = writers(GIVES_UP)
    tracker = track(tmp_path / "run")
    tracker.close("FINISHED")
    assert len(started) == 1
    assert "not sent" in tracker.unsent


def test_the_writer_of_a_study_is_replaced_with_all_that_is_unsent(tmp_path: Path, writers: Callable):
    started = writers(LIVES, "cat > /dev/null")
    Recorder(tmp_path / "study").close()
    study = StudyRuns(tmp_path / "study")
    for name in ("a", "b"):
        track(tmp_path / name, study).close("FINISHED")
    kill(started[0][0])
    mark_sent(tmp_path / "a")
    track(tmp_path / "c", study).close("FINISHED")
    assert started[1][1] == ["b", "c"]
    kill(started[1][0])
    assert study.close()
    assert started[2][1] == ["b", "c"]
    assert len(started) == 3


def test_the_writer_of_a_study_that_had_sent_all_is_not_replaced(tmp_path: Path, writers: Callable):
    started = writers(LIVES)
    Recorder(tmp_path / "study").close()
    study = StudyRuns(tmp_path / "study")
    track(tmp_path / "a", study).close("FINISHED")
    mark_sent(tmp_path / "a")
    kill(started[0][0])
    assert study.close()
    assert len(started) == 1


def test_a_disk_too_full_for_the_end_hides_not_what_ended_the_run(tmp_path: Path, writers: Callable, monkeypatch):
    writers(SENDS)

    def full(*_: object) -> None:
        raise RunFailed("cannot write the spool: the disk is full")

    tracker = track(tmp_path / "run")
    monkeypatch.setattr(Recorder, "finish", full)
    tracker.close("FAILED")
    assert "could not be recorded" in tracker.unsent
    with pytest.raises(RunFailed, match="disk is full"):
        track(tmp_path / "other").close("FINISHED")
