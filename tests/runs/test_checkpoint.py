"""Checkpoints: whole or absent, free of code, and an older one stands in for one that is damaged."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unlocked.errors import RunFailed
from unlocked.loop.train import resume, train
from unlocked.runs import checkpoint as module
from unlocked.runs.checkpoint import Checkpoints, Progress, load_states, load_weights, read_weights, write_weights
from unlocked.runs.evaluate import evaluate_run

LOSSLESS = ["train.epochs=4", "data.batch_size=64"]


def state(value: float) -> dict:
    return {"weights": {"0.weight": torch.full((2, 2), value)}, "learner": {"optimizer": None}, "pending": []}


def save(checkpoints: Checkpoints, step: int, is_best: bool = False) -> Path:
    return checkpoints.save(Progress(step=step), [state(float(step))], is_best)


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_last_two_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30, 40):
        save(checkpoints, step, is_best=step == 20)
    assert names(checkpoints) == ["best.json", "step-00000020", "step-00000030", "step-00000040"]
    assert checkpoints.best().name == "step-00000020"
    assert load_weights(checkpoints.last())["0.weight"][0, 0] == 40.0


def test_a_save_removes_what_a_killed_process_left_unfinished(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    (checkpoints.folder / ".step-00000020.12345").mkdir()
    save(checkpoints, 20)
    assert names(checkpoints) == ["step-00000010", "step-00000020"]


@pytest.mark.parametrize("failing", ["save_file", "torch.save", "rename"])
def test_a_full_disk_leaves_the_checkpoint_before_it_whole(tmp_path, monkeypatch, failing):
    def full(*_, **__):
        if failing == "save_file":
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if failing == "rename":
                raise
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598") from error

    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10)
    with monkeypatch.context() as patch:
        place, name = {"save_file": (module, "save_file"), "torch.save": (torch, "save"), "rename": (Path, "rename")}[
            failing
        ]
        patch.setattr(place, name, full)
        with pytest.raises(RunFailed) as failure:
            save(checkpoints, 20)
    message = str(failure.value)
    assert "the checkpoint of step 20 could not be written: No space left on device" in message
    assert "the checkpoint of step 10 is intact" in message
    assert "\n" not in message
    assert names(checkpoints) == ["step-00000010"]
    progress, states = load_states(checkpoints.last(), 1)
    assert progress.step == 10
    assert states[0]["weights"]["0.weight"][0, 0] == 10.0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB, mounted; skipped if that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount")
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("no file system can be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=20)


def test_a_disk_that_runs_full_ends_the_run_in_one_line_with_a_checkpoint_that_loads(small_disk, small):
    with pytest.raises(RunFailed, match="could not be written") as failure:
        train(small("model.hidden=[300,200]", "train.epochs=20", f"tracking.runs={small_disk}"))
    assert "\n" not in str(failure.value)
    (run_dir,) = (path for path in small_disk.iterdir() if path.is_dir())
    checkpoints = Checkpoints(run_dir)
    assert list(checkpoints.folder.glob(".*")) == []
    progress, states = load_states(checkpoints.last(), 2)
    assert progress.step > 0
    assert len(states) == 2
    assert f"the checkpoint of step {progress.step} is intact" in str(failure.value)


def finished(small, *overrides) -> tuple[Path, dict[str, torch.Tensor]]:
    run_dir = Path(train(small("scheme.lag=2", "train.epochs=4", *overrides))["run_dir"])
    weights = load_file(Checkpoints(run_dir).last() / "model.safetensors")  # mapped: damage would reach it
    return run_dir, {name: weight.clone() for name, weight in weights.items()}


def flip(path: Path) -> None:
    """Four bytes in the middle, as a disk might."""
    content = bytearray(path.read_bytes())
    for i in range(len(content) // 2, len(content) // 2 + 4):
        content[i] ^= 0x5A
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    ["truncated", "empty", "missing", "no progress", "flipped", "flipped weights", "flipped progress", "flipped sums"],
)
def test_a_damaged_last_checkpoint_is_named_and_the_one_before_it_used(small, reporter, damage):
    run_dir, expected = finished(small)
    last = Checkpoints(run_dir).last()
    worker = last / "worker-0.pt"
    if damage == "truncated":
        worker.write_bytes(worker.read_bytes()[:1000])
    elif damage == "empty":
        worker.write_bytes(b"")
    elif damage == "missing":
        worker.unlink()
    elif damage.startswith("flipped"):
        flip(
            last
            / {
                "flipped": worker.name,
                "flipped weights": "model.safetensors",
                "flipped progress": "progress.json",
                "flipped sums": "SHA256SUMS",
            }[damage]
        )
    else:
        (last / "progress.json").write_text("{")
    summary = resume(run_dir, reporter=reporter)
    assert len(reporter.notes) == 1
    assert last.name in reporter.notes[0]
    assert reporter.notes[0].endswith("going on from the checkpoint before it")
    assert summary["run_dir"] == str(run_dir)
    found = load_file(Checkpoints(run_dir).last() / "model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_when_no_checkpoint_can_be_read_the_run_does_not_start_again_from_nothing(small, reporter):
    run_dir, _ = finished(small)
    for path in Checkpoints(run_dir).all():
        (path / "worker-1.pt").write_bytes(b"no")
    with pytest.raises(RunFailed, match=r"worker-1\.pt: damaged.*remove .*checkpoints to train from the start"):
        resume(run_dir, reporter=reporter)


def test_damaged_weights_are_named_and_neither_evaluated_nor_transferred_nor_tested(small, reporter):
    run_dir, _ = finished(small)
    best = Checkpoints(run_dir).best()
    flip(best / "model.safetensors")
    for use in (lambda: evaluate_run(run_dir), lambda: train(small(f"transfer.run={run_dir}"))):
        with pytest.raises(RunFailed, match=f"{best.name}/model.safetensors: damaged") as failure:
            use()
        assert "\n" not in str(failure.value)


def test_training_goes_back_to_before_damaged_best_weights_if_it_can(tmp_path):
    checkpoints, notes = Checkpoints(tmp_path), []
    save(checkpoints, 10)
    checkpoints.save(Progress(step=20, best_step=20), [state(20.0)], True)
    flip(checkpoints.folder / "step-00000020" / "model.safetensors")
    checkpoints.save(Progress(step=30, best_step=20), [state(30.0)], False)
    progress, _ = checkpoints.newest(1, notes.append)
    assert progress.step == 30  # nothing is left of what came before the best
    (note,) = notes
    assert note.endswith(
        "model.safetensors: damaged: its SHA-256 is not the one written down in SHA256SUMS; going on from step-00000030"
    )
    shutil.copytree(checkpoints.folder / "step-00000030", checkpoints.folder / "step-00000010")
    (checkpoints.folder / "step-00000010" / "progress.json").write_text('{"step": 10}')
    (checkpoints.folder / "step-00000010" / "SHA256SUMS").unlink()
    progress, _ = checkpoints.newest(1, notes.append)
    assert progress.step == 10
    assert notes[1].endswith("going on from the checkpoint before it")
    assert names(checkpoints) == ["best.json", "damaged-step-00000020", "damaged-step-00000030", "step-00000010"]
    assert checkpoints.best() is None


def test_a_checkpoint_without_digests_is_that_of_an_older_version(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (save(checkpoints, 10) / "SHA256SUMS").unlink()
    assert load_states(checkpoints.last(), 1)[0].step == 10


def test_sums_are_what_sha256sum_checks(tmp_path):
    path = save(Checkpoints(tmp_path), 10)
    done = subprocess.run(["sha256sum", "--strict", "--check", "SHA256SUMS"], cwd=path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count(": OK")) == (0, 3)


def test_flipped_bytes_in_the_weights_that_a_run_begins_with_are_noticed(tmp_path):
    path, sums = tmp_path / "initial.safetensors", tmp_path / "initial.sha256"
    write_weights({"0.weight": torch.ones(4)}, path, sums)
    assert read_weights(path, sums)["0.weight"].sum() == 4
    flip(path)
    with pytest.raises(RunFailed, match=r"initial\.safetensors: damaged"):
        read_weights(path, sums)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, thing: path.write_bytes(pickle.dumps(thing, protocol=2)),
        lambda path, thing: torch.save(thing, path),
    ],
    ids=["pickle", "torch.save"],
)
def test_a_checkpoint_that_holds_code_is_refused_and_the_code_not_run(small, reporter, tmp_path, write):
    run_dir, _ = finished(small)
    proof = tmp_path / "executed"
    for path in Checkpoints(run_dir).all():
        write(path / "worker-0.pt", Malicious(proof))
        (path / "SHA256SUMS").unlink()
    with pytest.raises(RunFailed, match="cannot be read"):
        resume(run_dir, reporter=reporter)
    assert not proof.exists()


def test_progress_is_plain_json(small):
    run_dir, _ = finished(small)
    told = json.loads((Checkpoints(run_dir).last() / "progress.json").read_text())
    assert told["step"] == 4 * 20
    assert told["best_step"] <= told["step"]
