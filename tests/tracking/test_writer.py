from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unlocked.processes import identify_process, process_alive
from unlocked.tracking import Recorder, Tracker, read, sync_leftovers
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.sink import KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH, _bounded, _cut, _entity_key

Write = Callable[..., subprocess.Popen[bytes]]


def log_of(run_dir: Path) -> str:
    return (run_dir / "tracking" / "writer.log").read_text()


def fill(run_dir: Path, points: int, keys: int = 1) -> Recorder:
    recorder = Recorder(run_dir)
    recorder.start({"seed": "0"}, {"scheme": "dni"})
    for step in range(points):
        recorder.metrics(step, {f"m{key}": step * 0.5 for key in range(keys)})
    return recorder


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_run_arrives_in_mlflow_whole_and_exactly(runs: Path, stored):
    run_dir = runs / "digits-0"
    tracker = Tracker.start(run_dir, None, "digits", {"seed": 0, "long": "x" * 9000}, {"scheme": "dni"})
    for step in range(1500):
        tracker.recorder.metrics(step, {"train/loss": 1 / (step + 1), "broken": float("nan")})
    (run_dir / "figures").mkdir()
    (run_dir / "figures" / "a.png").write_bytes(b"png")
    tracker.recorder.artifact(run_dir / "figures")
    tracker.recorder.artifact(run_dir / "never-written.txt")
    run_id = tracker.close("FINISHED", {"test/accuracy": 0.9})
    assert (tracker.unsent, run_id) == ("", tracker.run_id()), log_of(run_dir)

    database = stored(runs / "mlflow.db")
    assert database.runs() == [("digits-0", "FINISHED")]
    assert database.points() == {"train/loss": 1500, "broken": 1500}
    params = dict(database.query("select key, value from params"))
    assert params["seed"] == "0"
    assert params["long"] == "x" * (PARAM_LENGTH - 3) + "..."
    tags = dict(database.query("select key, value from tags"))
    assert tags["scheme"] == "dni"
    assert tags["unlocked.run"] == "digits-0"
    kept = runs / "artifacts" / "digits" / str(run_id) / "artifacts"
    assert (kept / "a.png").read_bytes() == b"png"
    assert json.loads((kept / "summary.json").read_text()) == {"test/accuracy": 0.9}
    assert sync_leftovers(runs) == []


def test_a_writer_killed_anywhere_leaves_each_point_in_mlflow_once(runs: Path, write: Write, stored):
    run_dir, uri = runs / "run", f"sqlite:///{runs / 'mlflow.db'}"
    recorder = fill(run_dir, 8000)
    recorder.finish("FINISHED", None)
    files = TrackingFolder(run_dir)

    victim = write(run_dir, uri)
    wait_for(lambda: files.sent()[0] > 100_000)
    victim.send_signal(signal.SIGKILL)
    victim.wait(timeout=10)
    sent, _ = files.sent()
    assert sent < files.size(), "the kill came too late to show anything"

    first_line = files.spool.read_bytes().index(b"\n") + 1
    # as if it had been killed before the offset was saved, and before the id of the run was
    files.offset.write_text(json.dumps({"offset": first_line, "closed": None}))
    files.mlflow.unlink()
    both = [write(run_dir, uri), write(run_dir, uri)]  # of two, one works and the other leaves
    assert [writer.wait(timeout=60) for writer in both] == [0, 0], log_of(run_dir)
    database = stored(runs / "mlflow.db")
    assert (database.points(), database.repeated_points()) == ({"m0": 8000}, 0)
    assert database.runs() == [("run", "FINISHED")]


def test_a_killed_training_is_marked_killed_and_goes_on_in_the_same_run(runs: Path, start, stored):
    run_dir = runs / "run"
    code = (
        "import sys, time; from pathlib import Path; from unlocked.tracking import Tracker;"
        "tracker = Tracker.start(Path(sys.argv[1]), None, 'test', {'epochs': 1}, {});"
        "[tracker.recorder.metrics(step, {'m': 1.0}) for step in range(20)];"
        "tracker.run_id(30); print('ready', flush=True); time.sleep(60)"
    )
    training = start(sys.executable, "-c", code, run_dir, stdout=subprocess.PIPE)
    assert training.stdout.readline() == b"ready\n"
    os.kill(training.pid, signal.SIGKILL)
    training.wait(timeout=10)
    database = stored(runs / "mlflow.db")
    wait_for(lambda: database.runs() == [("run", "KILLED")])

    files = TrackingFolder(run_dir)
    wait_for(lambda: files.sent()[1] == "KILLED")
    files.offset.unlink()  # a writer for leftovers comes before the resumed run's own
    wait_for(lambda: sync_leftovers(runs) == [run_dir])
    tracker = Tracker.start(run_dir, None, "test", {"epochs": 2}, {})
    wait_for(lambda: database.runs() == [("run", "RUNNING")])
    for step in range(15, 25):  # replays five steps
        tracker.recorder.metrics(step, {"m": 1.0})
    tracker.close("FINISHED")
    assert database.runs() == [("run", "FINISHED")]
    assert (database.points(), database.repeated_points()) == ({"m": 25}, 0)
    tags = dict(database.query("select key, value from tags"))
    assert tags["changed.epochs"] == "2"


@pytest.mark.slow("three writers make one database")
def test_writers_that_start_together_on_a_fresh_database_all_succeed(tmp_path: Path, write: Write, stored):
    names = [f"run-{number}" for number in range(3)]
    for name in names:
        fill(tmp_path / name, 10).finish("FINISHED", None)
    writers = [write(tmp_path / name, f"sqlite:///{tmp_path / 'mlflow.db'}") for name in names]
    codes = [writer.wait(timeout=90) for writer in writers]
    assert codes == [0] * 3, [log_of(tmp_path / name) for name in names]
    database = stored(tmp_path / "mlflow.db")
    assert sorted(database.runs()) == [(name, "FINISHED") for name in names]
    assert database.points() == {"m0": 30}
    assert len(database.query("select * from experiments where name = 'test'")) == 1


def test_a_trial_finds_its_parent_and_a_refused_entry_does_not_hold_up_the_rest(runs: Path, write: Write, stored):
    run_dir = runs / "run"
    fill(runs / "sweep", 1).finish("FINISHED", None)
    sweep = TrackingFolder(runs / "sweep")
    sweep.mlflow.write_text(json.dumps({"run_id": "f" * 32}))
    recorder = fill(run_dir, 5)
    recorder.start({}, {"unlocked.parent": "sweep", "empty": ""})
    recorder.metrics(8, {"m0": 1.0}, timestamp_ms=-5)  # MLflow takes no time before 1970
    recorder.metrics(9, {"odd name (µ)/../x": 2.0})
    recorder.finish("FINISHED", None)
    writer = write(run_dir, f"sqlite:///{runs / 'mlflow.db'}")
    assert writer.wait(timeout=60) == 0, log_of(run_dir)
    assert stored(runs / "mlflow.db").points()["m0"] == 5
    assert len(stored(runs / "mlflow.db").points()) == 2
    assert "refused" in log_of(run_dir)
    tags = dict(stored(runs / "mlflow.db").query("select key, value from tags"))
    assert tags["mlflow.parentRunId"] == "f" * 32


def test_a_lost_database_is_filled_again_from_the_spool(runs: Path, write: Write, stored, empty_database: Path):
    run_dir, uri = runs / "run", f"sqlite:///{runs / 'mlflow.db'}"
    recorder = fill(run_dir, 10)
    recorder.finish("FAILED", None)
    assert write(run_dir, uri).wait(timeout=60) == 0
    shutil.copy(empty_database, runs / "mlflow.db")
    recorder.start({}, {})  # resumed
    recorder.metrics(10, {"m0": 1.0})
    recorder.finish("FINISHED", None)
    assert write(run_dir, uri).wait(timeout=60) == 0
    assert stored(runs / "mlflow.db").points() == {"m0": 11}
    assert stored(runs / "mlflow.db").runs() == [("run", "FINISHED")]


def test_off_keeps_the_spool_and_starts_nothing(tmp_path: Path):
    tracker = Tracker.start(tmp_path / "run", "off", "test", {}, {})
    tracker.recorder.metrics(1, {"a": 1.0})
    assert tracker.close("FINISHED") is None
    assert read(tmp_path / "run") == {"a": [(1, 1.0)]}
    assert sync_leftovers(tmp_path) == []
    assert not (tmp_path / "mlflow.db").exists()


def test_a_run_in_progress_is_not_taken_for_a_leftover(tmp_path: Path):
    run_dir = tmp_path / "run"
    recorder = fill(run_dir, 3)  # this very process is training
    files = TrackingFolder(run_dir)
    files.target.write_text(json.dumps({"uri": "http://127.0.0.1:9", "experiment": "test"}))
    assert process_alive(identify_process(os.getpid()))
    assert sync_leftovers(tmp_path) == []
    recorder.finish("FINISHED", None)
    assert sync_leftovers(tmp_path) == []  # over, but nobody answers at that port


def test_looking_for_leftovers_is_cheap_when_there_are_none(tmp_path: Path):
    for number in range(200):
        recorder = fill(tmp_path / f"run-{number}", 1)
        recorder.close()
        files = TrackingFolder(tmp_path / f"run-{number}")
        files.offset.write_text(json.dumps({"offset": files.size(), "closed": "FINISHED"}))
    begin = time.process_time()
    assert sync_leftovers(tmp_path) == []
    assert time.process_time() - begin < 0.5


def test_a_process_number_used_again_is_another_process():
    mine = identify_process(os.getpid())
    assert process_alive(mine)
    if mine["started"] is None:
        pytest.skip("no /proc: a process is known by its number only")
    assert not process_alive(mine | {"started": "1"})


@pytest.mark.parametrize("key", ["../up", "/root", "a//b", "ümlaut*", "", "..", "x" * 400, "a/./b"])
def test_every_key_becomes_one_mlflow_accepts(key: str):
    from mlflow.utils.validation import _validate_metric_name

    clean = _entity_key(key)
    _validate_metric_name(clean)
    assert 0 < len(clean) <= KEY_LENGTH


def test_long_keys_that_begin_alike_stay_two():
    one, other = (_entity_key(f"model.{'a' * 300}.{last}") for last in "xy")
    assert one != other
    assert len(one) == len(other) == KEY_LENGTH
    assert _entity_key("model." + "a" * 244) == "model." + "a" * 244


def test_text_is_cut_in_bytes_and_batches_are_bounded():
    class Entry:
        key, value = "k", "ü" * 4000

    assert len(_cut(Entry.value, TAG_LENGTH).encode()) <= TAG_LENGTH
    batches = list(_bounded([Entry()] * 150))
    assert sum(map(len, batches)) == 150
    assert max(map(len, batches)) <= 100
