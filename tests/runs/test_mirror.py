"""The copy of a run: whole at any moment, enough to go on from elsewhere, and never leading out of its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed, RunPruned
from unlocked.loop.train import Silent, resume, train
from unlocked.runs.checkpoint import Checkpoints, Progress
from unlocked.runs.mirror import Mirror, fetch, is_address, mirrored_config

SMALL = [
    "model.hidden=[12]",
    "parallel.engine=inprocess",
    "parallel.modules=1",
    "parallel.partition=null",
    "parallel.threads=1",
    "tracking.uri=off",
    "train.epochs=4",
    "train.probe_every=0",
    "scheme.name=backprop",
]


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path) -> str:
    """An address that pyarrow knows, and one that fsspec alone does."""
    return f"file://{tmp_path}/store" if request.param == "file" else f"memory://store-{tmp_path.name}"


def saved(run: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(run)
    for step in steps:
        checkpoints.save(Progress(step=step, waited=[0.0]), [{"weights": {"w": torch.full((2,), float(step))}}], False)
    return checkpoints


def test_a_copy_has_the_checkpoints_that_the_run_has_and_no_others(store, tmp_path):
    run = tmp_path / "runs" / "one"
    saved(run, 1, 2)
    (run / "config.yaml").write_text("name: one")
    (run / "lock").write_text("1")
    mirror = Mirror(store, run)
    mirror.push()
    saved(run, 3)  # the first one is dropped
    mirror.push()
    copy = fetch(f"{store}/one", tmp_path / "elsewhere")
    assert [path.name for path in Checkpoints(copy).all()] == ["step-00000002", "step-00000003"]
    assert load_file(copy / "checkpoints" / "step-00000003" / "model.safetensors")["w"].tolist() == [3.0, 3.0]
    assert sorted(path.name for path in copy.iterdir()) == ["checkpoints", "config.yaml"]


def test_the_configuration_of_a_copy_is_read_where_it_lies(store, tmp_path):
    run = tmp_path / "runs" / "one"
    saved(run, 1)
    (run / "config.yaml").write_text("name: one")
    Mirror(store, run).push()
    assert mirrored_config(f"{store}/one/") == {"name": "one"}
    with pytest.raises(ConfigError, match="is no mirrored run"):
        mirrored_config(f"{store}/two")


def test_a_checkpoint_that_was_half_copied_does_not_count_and_goes_with_the_next_copy(tmp_path):
    run, store = tmp_path / "runs" / "one", tmp_path / "store"
    saved(run, 1)
    Mirror(f"file://{store}", run).push()
    half = store / "one" / "checkpoints" / "step-00000002"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")  # a kill came before the index
    assert [path.name for path in Checkpoints(fetch(f"file://{store}/one", tmp_path / "x")).all()] == ["step-00000001"]
    Mirror(f"file://{store}", run).push()
    assert not half.exists()


class EndsAfter(Silent):
    def __init__(self, last):
        self.last, self.notes = last, []

    def epoch(self, epoch, values):
        return epoch == self.last

    def note(self, text):
        self.notes.append(text)


def test_a_run_goes_on_from_its_copy_to_the_numbers_of_an_unbroken_one(store, tmp_path):
    there, whole = (f"tracking.runs={tmp_path / name}" for name in ("there", "whole"))
    with pytest.raises(RunPruned):
        train(load_config("quickstart", [*SMALL, there, f"tracking.mirror={store}"]), reporter=EndsAfter(2))
    (lost,) = (tmp_path / "there").iterdir()
    for path in sorted(lost.rglob("*"), reverse=True):  # the machine is gone
        path.rmdir() if path.is_dir() else path.unlink()
    found = resume(fetch(f"{store}/{lost.name}", tmp_path / "here"))
    unbroken = train(load_config("quickstart", [*SMALL, whole]))
    assert found["metrics"]["test/loss"] == unbroken["metrics"]["test/loss"]
    assert found["metrics"]["val/loss"] == unbroken["metrics"]["val/loss"]


def test_a_store_that_goes_away_ends_no_run(tmp_path, monkeypatch):
    def away(self):
        raise RunFailed("tracking.mirror: the copy is out of date: gone")

    monkeypatch.setattr(Mirror, "push", away)
    reporter = EndsAfter(None)
    summary = train(
        load_config(
            "quickstart",
            [
                *SMALL,
                "train.epochs=1",
                f"tracking.runs={tmp_path / 'runs'}",
                f"tracking.mirror=file://{tmp_path}/store",
            ],
        ),
        reporter=reporter,
    )
    assert summary["steps"] > 0
    assert set(reporter.notes) == {"tracking.mirror: the copy is out of date: gone"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("somewhere", "is no address of storage"),
        ("file://etc", "has no absolute path"),
        ("nonsense://x/y", "nonsense"),
        ("file:///proc/no/such", "cannot be written"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_before_anything_starts(tmp_path, address, said):
    with pytest.raises(ConfigError, match=r"^tracking\.mirror: ") as caught:
        train(load_config("quickstart", [*SMALL, f"tracking.runs={tmp_path / 'runs'}", f"tracking.mirror={address}"]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_what_is_no_copy_or_leads_out_of_its_folder_is_refused(tmp_path):
    store = tmp_path / "store"
    (store / "one").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is no mirrored run"):
        fetch(f"file://{store}/one", tmp_path / "x")
    with pytest.raises(ConfigError, match=r"'\.\.' is no name"):
        fetch(f"file://{store}/..", tmp_path / "x")
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{tmp_path.name}/one/mirror.json", json.dumps({"checkpoints": []}).encode())
    memory.pipe(f"/{tmp_path.name}/one/a/../../evil", b"x")
    with pytest.raises(ConfigError, match="leads out of it"):
        fetch(f"memory://{tmp_path.name}/one", tmp_path / "x")
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


def test_a_run_that_is_here_already_is_not_overwritten(tmp_path):
    (tmp_path / "x" / "one").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is here already"):
        fetch(f"file://{tmp_path}/one", tmp_path / "x")


@pytest.mark.parametrize(
    ("place", "address"),
    [("s3://bucket/x", True), ("runs/x", False), ("/a/b", False), ("C:/x", False), ("gs://b", True)],
)
def test_addresses_are_told_from_paths(place, address):
    assert is_address(place) is address
