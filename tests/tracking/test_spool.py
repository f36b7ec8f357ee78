from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unlocked.tracking import Recorder, read
from unlocked.tracking.spool import records


def spool_of(run_dir: Path) -> Path:
    return run_dir / "tracking" / "spool.jsonl"


def test_what_is_recorded_can_be_read_back(tmp_path: Path):
    recorder = Recorder(tmp_path)
    recorder.start({"seed": 0}, {"scheme": "dni"})
    recorder.metrics(1, {"train/loss": 0.5, "lr": 0.1})
    recorder.metrics(2, {"train/loss": 0.25})
    recorder.finish("FINISHED", {"test/accuracy": 0.9})
    assert read(tmp_path) == {"train/loss": [(1, 0.5), (2, 0.25)], "lr": [(1, 0.1)]}
    assert [record["t"] for record in records(spool_of(tmp_path))] == [
        "spool", "start", "metrics", "metrics", "finish",
    ]  # fmt: skip


def test_numbers_that_are_not_finite_survive(tmp_path: Path):
    Recorder(tmp_path).metrics(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    history = read(tmp_path)
    assert math.isnan(history["a"][0][1])
    assert (history["b"], history["c"]) == ([(1, math.inf)], [(1, -math.inf)])


def test_every_record_is_on_disk_before_the_call_returns(tmp_path: Path):
    recorder = Recorder(tmp_path)
    recorder.metrics(7, {"train/loss": 1.0})
    assert read(tmp_path) == {"train/loss": [(7, 1.0)]}


@pytest.mark.parametrize("torn", [b'{"t": "metrics", "step": 3, "val', b"\x00\x00\x00", b"x" * 200_000])
def test_a_torn_last_line_is_cut_off_when_the_run_resumes(tmp_path: Path, torn: bytes):
    recorder = Recorder(tmp_path)
    recorder.metrics(1, {"train/loss": 0.5})
    recorder.close()
    whole = spool_of(tmp_path).read_bytes()
    spool_of(tmp_path).write_bytes(whole + torn)
    assert read(tmp_path) == {"train/loss": [(1, 0.5)]}

    resumed = Recorder(tmp_path)
    assert spool_of(tmp_path).read_bytes() == whole
    resumed.metrics(2, {"train/loss": 0.4})
    assert read(tmp_path) == {"train/loss": [(1, 0.5), (2, 0.4)]}


def test_a_spool_that_is_nothing_but_a_torn_line_starts_anew(tmp_path: Path):
    spool_of(tmp_path).parent.mkdir()
    spool_of(tmp_path).write_bytes(b'{"t": "spo')
    Recorder(tmp_path).metrics(1, {"a": 1.0})
    assert [record["t"] for record in records(spool_of(tmp_path))] == ["spool", "metrics"]


def test_a_resumed_run_that_replays_steps_records_no_point_twice(tmp_path: Path):
    first = Recorder(tmp_path)
    for step in (10, 20, 30):
        first.metrics(step, {"train/loss": 1.0 / step})
    first.metrics(20, {"val/loss": 0.1})
    first.close()

    resumed = Recorder(tmp_path)  # from the checkpoint at step 10
    for step in (20, 30, 40):
        resumed.metrics(step, {"train/loss": 1.0 / step, "val/loss": 0.1})
    history = read(tmp_path)
    assert [step for step, _ in history["train/loss"]] == [10, 20, 30, 40]
    assert [step for step, _ in history["val/loss"]] == [20, 30, 40]


def test_the_spool_keeps_its_identity_over_a_resume(tmp_path: Path):
    Recorder(tmp_path).close()
    Recorder(tmp_path).close()
    assert [record["t"] for record in records(spool_of(tmp_path))] == ["spool"]


def test_artifacts_inside_the_run_folder_are_kept_relative_to_it(tmp_path: Path):
    recorder = Recorder(tmp_path / "run")
    recorder.artifact(tmp_path / "run" / "figures" / "a.png", "figures")
    with pytest.raises(ValueError, match="not in the subpath"):
        recorder.artifact(tmp_path / "elsewhere.yaml")
    paths = [record["path"] for record in records(spool_of(tmp_path / "run")) if record["t"] == "artifact"]
    assert paths == ["figures/a.png"]


def test_passwords_in_addresses_never_reach_the_disk(tmp_path: Path):
    recorder = Recorder(tmp_path)
    recorder.start({"tracking.uri": "https://ann:hunter2@mlflow.example/x"}, {"db": "postgresql://u:hunter2@h/db"})
    recorder.finish("FAILED", {"error": "no connection to postgresql://u:hunter2@h/db"})
    text = spool_of(tmp_path).read_text()
    assert "hunter2" not in text
    assert "https://***@mlflow.example/x" in text


def test_a_metric_call_costs_well_under_a_millisecond(tmp_path: Path):
    recorder = Recorder(tmp_path)
    begin = time.process_time()
    for step in range(1000):
        recorder.metrics(step, {"train/loss": 0.1, "lr": 0.1})
    assert (time.process_time() - begin) / 1000 < 1e-3


def test_importing_tracking_imports_neither_mlflow_nor_matplotlib_nor_torch():
    code = "import sys, unlocked.tracking; print(*{'mlflow', 'matplotlib', 'torch'} & set(sys.modules))"
    done = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert done.strip() == ""


@pytest.mark.parametrize(("opened", "given"), [("link", "runs"), ("runs", "link"), ("runs", "link/../runs")])
def test_an_artifact_is_inside_by_whichever_path_its_folder_is_reached(tmp_path, opened, given):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    recorder = Recorder(tmp_path / opened / "one")
    recorder.artifact(tmp_path / given / "one" / "figures" / "a.png", "figures")
    kept = list(records(tmp_path / "runs" / "one" / "tracking" / "spool.jsonl"))
    assert [record["path"] for record in kept if record["t"] == "artifact"] == ["figures/a.png"]
    with pytest.raises(ValueError, match="subpath"):
        recorder.artifact(tmp_path / "b.png")
