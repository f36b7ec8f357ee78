"""A worker killed in the middle: the group ends as a whole and starts again, to the same numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from unlocked.engine.checkpoint import Checkpoints
from unlocked.engine.loop import Silent, resume, train
from unlocked.engine.ray_group import WorkerFailed
from unlocked.tracking import read

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180), pytest.mark.usefixtures("cluster")]
RUN = ["scheme.name=cdni", "parallel.stages=2", "train.epochs=8", "train.probe_every=0"]


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def kill_a_worker(processes, tmp_path):
    """Kills one of the run's workers two epochs after its start; gives the processes of that group."""
    before = set(processes.descendants(os.getpid(), "ray::Worker"))
    group = []

    def kill():
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            run_dirs = [path.parent for path in (tmp_path / "runs").glob("*/checkpoints")]
            if run_dirs and Checkpoints(run_dirs[0]).last() and len(read(run_dirs[0]).get("val/loss", [])) >= 2:
                break
            time.sleep(0.005)
        group.extend(set(processes.descendants(os.getpid(), "ray::Worker")) - before)
        os.kill(group[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    yield group
    killer.join()


def test_a_killed_worker_is_restarted_from_the_last_checkpoint_to_the_same_weights(
        small, kill_a_worker, unbroken, last_weights, processes):
    reporter = Notes()
    summary = train(small(*RUN), reporter=reporter)
    assert summary["restarts"] == 1
    assert len(reporter.notes) == 1
    assert "a worker died" in reporter.notes[0]
    assert "restart 1 of 2 from step-" in reporter.notes[0]
    run_dir = Path(summary["run_dir"])
    for key, points in read(run_dir).items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{key} has a step twice"
    wanted = unbroken(*RUN)
    found = last_weights(run_dir)
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    processes.until(lambda: not processes.alive(kill_a_worker), 20, "the killed group's processes ended")


def test_without_restarts_left_the_whole_group_ends_and_the_run_says_how_to_go_on(
        small, kill_a_worker, unbroken, last_weights, processes):
    run = [*RUN, "parallel.max_failures=0"]
    with pytest.raises(WorkerFailed) as failure:
        train(small(*run))
    assert "died" in failure.value.detail
    assert str(failure.value).startswith("a worker died")
    assert "\n" not in str(failure.value)
    run_dir = Path(str(failure.value).partition("unlocked train --resume ")[2])
    processes.until(lambda: not processes.alive(kill_a_worker), 20, "all workers of the group ended")
    resume(run_dir)
    found = last_weights(run_dir)
    for name, weight in unbroken(*run).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


def test_the_traceback_of_a_worker_that_raises_comes_first_then_one_line(small, cluster, tmp_path, monkeypatch, capsys):
    from unlocked.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "breaking_models.py").write_text(
        "from torch import nn\n"
        "from unlocked import register_model\n\n"
        "class Breaks(nn.Module):\n"
        "    def forward(self, h):\n"
        "        if self.training and h.device.type != 'meta':\n"
        "            raise ArithmeticError('the user made a mistake here')\n"
        "        return h\n\n"
        "@register_model('breaking')\n"
        "def breaking(in_shape, n_outputs):\n"
        "    return [nn.Flatten(), nn.Linear(64, 20), Breaks(), nn.Linear(20, n_outputs)]\n")
    code = main(["train", "quickstart", "model.name=breaking", "parallel.partition=[2,2]", "parallel.threads=1",
                 "parallel.timeout=60", "tracking.uri=off", "train.probe_every=0", "--import", "breaking_models",
                 "--quiet"])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert "breaking_models.py" in "\n".join(lines[:-1])
    assert lines[-1].startswith("unlocked: a worker failed: ")
    assert "the user made a mistake here" in lines[-1]
    assert "unlocked train --resume" in lines[-1]
