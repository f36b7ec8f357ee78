"""A run killed or interrupted at any moment goes on to the very numbers of one that never was."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from unlocked.cli.main import main
from unlocked.runs.checkpoint import Checkpoints
from unlocked.tracking import read

pytestmark = pytest.mark.timeout(240)

CDNI = ["scheme.name=cdni", "scheme.lag=3"]
DFA = ["scheme.name=dfa", "scheme.lag=2"]
IN_PROCESS = ["parallel.modules=2", "parallel.engine=inprocess", "train.epochs=30"]
ON_RAY = ["parallel.modules=2", "parallel.engine=ray", "train.epochs=20"]
ray_run = pytest.param(
    CDNI, ON_RAY, marks=[pytest.mark.ray, pytest.mark.slow("a Ray of its own, twice")], id="cdni-ray"
)
in_process = [
    pytest.param(
        CDNI, IN_PROCESS, marks=pytest.mark.slow("one of two schemes is enough for make test"), id="cdni-inprocess"
    ),
    pytest.param(DFA, IN_PROCESS, id="dfa-inprocess"),
]


def in_the_middle(run_dir):
    """A checkpoint is taken, and another epoch is over."""
    taken = Checkpoints(run_dir).last()
    return taken is not None and read(run_dir).get("val/loss", [(0, 0)])[-1][0] > int(taken.name.removeprefix("step-"))


def assert_ends_as_if_unbroken(run_dir, expected, last_weights, capsys):
    assert main(["train", "--resume", str(run_dir), "--json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert summary["run"] == run_dir.name
    found = last_weights(run_dir)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    history = read(run_dir)
    for key, points in history.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{key} has a step twice"
    per_epoch = summary["steps"] // summary["epochs"]
    assert [step for step, _ in history["val/loss"]] == [per_epoch * (e + 1) for e in range(summary["epochs"])]
    assert list((run_dir / "checkpoints").glob(".*")) == []


@pytest.mark.parametrize(("scheme", "where"), [*in_process, ray_run])
def test_a_killed_driver_resumes_to_the_same_weights(
    scheme, where, drive, processes, unbroken, last_weights, request, capsys
):
    driver = drive(*scheme, *where)
    run_dir = driver.wait_for(in_the_middle)
    os.kill(driver.process.pid, signal.SIGKILL)  # the driver alone: its workers must end by themselves
    driver.process.wait(timeout=20)
    assert not (run_dir / "summary.json").exists(), "the run was over before the kill"
    processes.until(lambda: not processes.alive(driver.holding), 40, f"the driver's workers ended: {driver.holding}")
    if where is ON_RAY:
        request.getfixturevalue("cluster")
    assert_ends_as_if_unbroken(run_dir, unbroken(*scheme, *where), last_weights, capsys)


@pytest.mark.parametrize(("scheme", "where"), [in_process[1], ray_run])
def test_ctrl_c_saves_leaves_nothing_says_how_to_go_on_and_resumes_to_the_same_weights(
    scheme, where, drive, unbroken, last_weights, request, capsys
):
    driver = drive(*scheme, *where)
    run_dir = driver.wait_for(in_the_middle)
    driver.signal(signal.SIGINT)
    _, err = driver.process.communicate(timeout=60)
    assert driver.process.returncode == 130, err
    line = err.strip().splitlines()[-1]
    assert line.startswith("unlocked: interrupted and saved at step ")
    assert line.endswith(f"go on with: unlocked train --resume {run_dir}")
    assert err.count("\n") == 1, err
    last = Checkpoints(run_dir).last()
    assert last is not None
    assert f" {int(last.name.removeprefix('step-'))} of " in line
    driver.leaves_nothing()
    if where is ON_RAY:
        request.getfixturevalue("cluster")
    assert_ends_as_if_unbroken(run_dir, unbroken(*scheme, *where), last_weights, capsys)
