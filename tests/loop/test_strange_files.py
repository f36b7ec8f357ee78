"""Files of a run folder that are of the wrong kind end in one line: they are never waited for, and train nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from unlocked import load_config, train
from unlocked.cli.main import main
from unlocked.errors import ConfigError, DataError, RunFailed
from unlocked.files import read_json
from unlocked.runs.checkpoint import Checkpoints, load_states
from unlocked.runs.digests import SUMS, check_sums
from unlocked.runs.folder import RunFolder
from unlocked.runs.longer import lengthen
from unlocked.tracking import Recorder
from unlocked.tracking.folder import TrackingFolder


@pytest.fixture(scope="module")
def one_run(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    config = load_config(
        "quickstart",
        [
            "parallel.modules=2",
            "parallel.engine=inprocess",
            "tracking.uri=off",
            "tracking.figures=false",
            f"tracking.runs={runs}",
            "train.epochs=1",
        ],
    )
    return Path(train(config)["run_dir"])


@pytest.mark.parametrize(
    "change",
    [
        {"step": -5},
        {"step": "x"},
        {"step": 999999},
        {"waited": 1},
        {"waited": [None, 1.0]},
        {"best_step": "../.."},
        {"best_step": 10**9},
        {"level": -1},
        {"level_step": 10**9},
        {"metrics": [1]},
        {"metrics": {"a": "b"}},
        {"train_seconds": None},
        {"stopped_early": "no"},
        {"another": 1},
        {},
        None,
    ],
)
def test_progress_of_the_wrong_kind_is_no_checkpoint(one_run, change, request):
    last = Checkpoints(one_run).last()
    file, sums = last / "progress.json", last / SUMS
    kept = {path: path.read_bytes() for path in (file, sums)}
    request.addfinalizer(lambda: [path.write_bytes(content) for path, content in kept.items()])
    sums.unlink()
    load_states(last, 2)
    file.write_text(json.dumps(json.loads(file.read_text()) | change if change else {} if change is not None else [1]))
    with pytest.raises(RunFailed, match="cannot be read"):
        load_states(last, 2)


def test_a_longer_run_of_a_damaged_one_is_refused_before_its_folder_is_made(small):
    run = Path(train(small("train.epochs=1"))["run_dir"])
    (Checkpoints(run).last() / "worker-0.pt").unlink()
    with pytest.raises(RunFailed, match=r"worker-0\.pt: cannot be read"):
        lengthen(run, ["train.epochs=2"])
    assert [path.name for path in run.parent.glob("quickstart-*")] == [run.name]


def test_a_longer_run_that_cannot_start_leaves_no_folder(small, monkeypatch, capsys):
    def no_data(*_):
        raise DataError("the data are gone")

    run = Path(train(small("train.epochs=1"))["run_dir"])
    monkeypatch.setattr("unlocked.loop.train.load_data", no_data)
    assert main(["train", "--resume", str(run), "train.epochs=2"]) == 2
    assert "the data are gone" in capsys.readouterr().err
    assert [path.name for path in run.parent.glob("quickstart-*")] == [run.name]


def test_a_pipe_is_never_waited_for(tmp_path):
    for name in ("needs.json", SUMS, "lock", "model"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "config.yaml").write_text("name: one")
    (tmp_path / "weights").touch()
    assert read_json(tmp_path / "needs.json") == {}
    with pytest.raises(RunFailed, match="SHA256SUMS: cannot be read: not a file"):
        check_sums([tmp_path / "weights"], tmp_path / SUMS)
    with pytest.raises(RunFailed, match="model: not a file"):
        check_sums([tmp_path / "model"], tmp_path / "none")
    with pytest.raises(ConfigError, match="lock: not a file; move it away"):
        RunFolder(tmp_path)._hold()


def test_tracking_of_the_wrong_kind_is_one_line(tmp_path):
    (tmp_path / "tracking").touch()
    with pytest.raises(RunFailed, match="tracking: not a folder; move it away"):
        Recorder(tmp_path)
    assert TrackingFolder(tmp_path).size() == 0
    assert not TrackingFolder(tmp_path).finished_in_spool()
    (tmp_path / "tracking").unlink()
    TrackingFolder(tmp_path).spool.mkdir(parents=True)
    with pytest.raises(RunFailed, match=r"spool\.jsonl: not a file; move it away"):
        Recorder(tmp_path)


@pytest.mark.parametrize(
    "name", ["model", "figures", "environment", "figures/alignment.png", "environment/packages.txt", "tokenizer.json"]
)
def test_a_run_goes_on_through_no_link_that_came_with_its_folder(name: str, one_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(one_run, run)
    other = tmp_path / "other"
    other.mkdir() if "." not in name else other.write_text("mine")
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(other)
    with pytest.raises(ConfigError, match=f"run/{name}: is a link, which a run that goes on would follow"):
        RunFolder.open(run)


def test_checkpoints_may_lie_on_another_disk(one_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(one_run, run)
    (run / "checkpoints").rename(tmp_path / "disk")
    (run / "checkpoints").symlink_to(tmp_path / "disk")
    folder, _ = RunFolder.open(run)
    folder.release()
