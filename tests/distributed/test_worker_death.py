"""A worker killed or stopped in the middle: the group ends as a whole and starts again, to the same numbers."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from unlocked.errors import RunFailed
from unlocked.launch import ray_group
from unlocked.launch.ray_group import RayGroup, WorkerFailed
from unlocked.loop.train import Silent, resume, train
from unlocked.runs.checkpoint import Checkpoints
from unlocked.tracking import read

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180), pytest.mark.usefixtures("cluster")]
RUN = ["scheme.name=cdni", "parallel.modules=2", "train.epochs=8", "train.probe_every=0"]


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(
    params=[
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="stopped", marks=pytest.mark.slow("a stopped worker is waited for")),
    ]
)
def how(request):
    return request.param


@pytest.fixture
def lose_a_worker(processes, tmp_path, how):
    """Kills or stops one of the run's workers two epochs after its start; gives the processes of that group."""

    def workers():
        return {pid for kind in ("Worker", "ZeroWorker") for pid in processes.descendants(os.getpid(), f"ray::{kind}")}

    before = workers()
    group = []

    def lose():
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            run_dirs = [path.parent for path in (tmp_path / "runs").glob("*/checkpoints")]
            if run_dirs and Checkpoints(run_dirs[0]).last() and len(read(run_dirs[0]).get("val/loss", [])) >= 2:
                break
            time.sleep(0.005)
        group.extend(workers() - before)
        os.kill(group[0], how)

    killer = threading.Thread(target=lose)
    killer.start()
    yield group
    killer.join()


def test_a_lost_worker_is_restarted_from_the_last_checkpoint_to_the_same_weights(
    small, lose_a_worker, how, unbroken, last_weights, processes
):
    reporter = Notes()
    summary = train(small(*RUN, "parallel.timeout=5"), reporter=reporter)
    assert summary["restarts"] == 1
    assert len(reporter.notes) == 1
    says = "a worker died: module" if how == signal.SIGKILL else "a worker hangs: module"
    assert reporter.notes[0].startswith(says)
    assert f"(process {lose_a_worker[0]} on " in reporter.notes[0]
    assert "restart 1 of 2 from step-" in reporter.notes[0]
    run_dir = Path(summary["run_dir"])
    for key, points in read(run_dir).items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{key} has a step twice"
    wanted = unbroken(*RUN)
    found = last_weights(run_dir)
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    processes.until(lambda: not processes.alive(lose_a_worker), 20, "the killed group's processes ended")


@pytest.mark.slow("a group starts and ends")
@pytest.mark.parametrize("how", [signal.SIGKILL])
def test_without_restarts_left_the_whole_group_ends_and_the_run_says_how_to_go_on(
    small, lose_a_worker, unbroken, last_weights, processes
):
    run = [*RUN, "parallel.max_failures=0"]
    with pytest.raises(WorkerFailed) as failure:
        train(small(*run))
    assert "died" in failure.value.detail
    assert str(failure.value).startswith("a worker died")
    assert "\n" not in str(failure.value)
    run_dir = Path(str(failure.value).partition("unlocked train --resume ")[2])
    processes.until(lambda: not processes.alive(lose_a_worker), 20, "all workers of the group ended")
    resume(run_dir)
    found = last_weights(run_dir)
    for name, weight in unbroken(*run).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


@pytest.mark.slow("four deaths, four restarts")
@pytest.mark.parametrize("first", [0, 1, 2])
def test_any_worker_may_be_killed_at_any_moment(small, warm, unbroken, last_weights, monkeypatch, first):
    """Four deaths in one run: while it trains, takes a checkpoint, evaluates, probes; each another module's worker."""
    real, moment, left = RayGroup._get, ["training"], ["probe", "evaluation", "checkpoint", "training"]
    monkeypatch.setattr(ray_group, "RayGroup", warm)

    def at(name, method):
        def told(self, *args):
            moment[0] = name
            try:
                return method(self, *args)
            finally:
                moment[0] = "training"

        return told

    def get(self, refs):
        if left and moment[0] == left[-1] and self._who and run_dir_has_a_checkpoint():
            rank = (first + len(left)) % 3
            left.pop()
            os.kill(self._who[rank].pid, signal.SIGKILL)
        return real(self, refs)

    def run_dir_has_a_checkpoint():
        return any(Path(config.tracking.runs).glob("*/checkpoints/step-*"))

    monkeypatch.setattr(RayGroup, "_get", get)
    monkeypatch.setattr(RayGroup, "states", at("checkpoint", RayGroup.states))
    monkeypatch.setattr(RayGroup, "outputs", at("evaluation", RayGroup.outputs))
    monkeypatch.setattr(RayGroup, "probe", at("probe", RayGroup.probe))
    options = [
        "scheme.name=cdni",
        "parallel.modules=3",
        "train.epochs=6",
        "train.probe_every=1",
        "train.log_every=15",
        "parallel.max_failures=4",
    ]
    config, reporter = small(*options), Notes()
    summary = train(config, reporter=reporter)
    assert left == []
    assert summary["restarts"] == 4
    assert [note.partition(" (")[0] for note in reporter.notes] == [
        f"a worker died: module {(first + n) % 3}" for n in (4, 3, 2, 1)
    ]
    found = last_weights(Path(summary["run_dir"]))
    for name, weight in unbroken(*options).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


def test_a_private_ray_that_died_is_replaced_by_another(small, warm, unbroken, last_weights, monkeypatch, tmp_path):
    """What a dead raylet makes of calls to Ray is in test_kills; here, that the run looks while it waits."""
    monkeypatch.setattr(ray_group, "RayGroup", warm)
    ended = []

    def lost():
        taken = any((tmp_path / "runs").glob("*/checkpoints/step-*"))
        return "the raylet of this machine's private Ray (process 42)" if taken and not ended else None

    monkeypatch.setattr(ray_group.private_ray, "lost", lost)
    monkeypatch.setattr(ray_group.private_ray, "end", lambda: ended.append(True))
    run, reporter = ["scheme.name=cdni", "parallel.modules=2", "train.epochs=3", "train.probe_every=0"], Notes()
    summary = train(small(*run), reporter=reporter)
    assert ended == [True]
    assert summary["restarts"] == 1
    assert reporter.notes[0].startswith("Ray died: the raylet of this machine's private Ray (process 42); restart 1")
    found = last_weights(Path(summary["run_dir"]))
    for name, weight in unbroken(*run).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)


def test_a_failure_on_the_way_up_is_not_hidden_by_the_probe_before_it(small, warm):
    """A module above the one that raised holds what it was probed with last."""
    import ray

    from unlocked.plan.make import make_plan
    from unlocked.plan.plan import load_data

    config = small("scheme.name=cdni", "parallel.modules=2", "parallel.engine=ray")
    data = load_data(config)
    group = warm(make_plan(config, data), data)

    def break_probe(worker):
        def raises(h=None):
            raise ArithmeticError("a mistake on the way up")

        worker._modules[0].probe_forward = raises

    try:
        assert group.probe().keys() == {0}
        ray.get(group._workers[0].__ray_call__.remote(break_probe))
        with pytest.raises(RunFailed, match="ArithmeticError: a mistake on the way up"):
            group.probe()
    finally:
        group.close()


def test_what_a_users_block_raises_in_a_worker_is_one_line_with_place(small, cluster, tmp_path, monkeypatch, capsys):
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
        "    return [nn.Flatten(), nn.Linear(64, 20), Breaks(), nn.Linear(20, n_outputs)]\n"
    )
    code = main(
        [
            "train",
            "quickstart",
            "model.name=breaking",
            "parallel.partition=[2,2]",
            "parallel.threads=1",
            "parallel.timeout=60",
            "tracking.uri=off",
            "train.probe_every=0",
            "--import",
            "breaking_models",
            "--quiet",
        ]
    )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert code == 1
    assert line.startswith("unlocked: breaking_models.py:7: ArithmeticError: the user made a mistake here")


@pytest.mark.slow("a group that shares everything out starts three times")
@pytest.mark.parametrize("how", [signal.SIGKILL])
def test_shares_that_die_with_their_worker_come_back_from_the_checkpoint(small, tmp_path, lose_a_worker, last_weights):
    pytest.importorskip("deepspeed")
    zero = "parallel.deepspeed.zero_optimization"
    run = [
        *("scheme.name=backprop", "parallel.modules=1", "train.epochs=4", "train.probe_every=0", "model.norm=none"),
        *("parallel.engine=deepspeed", "parallel.replicas=2"),
        *(f"{zero}.stage=3", f"{zero}.stage3_param_persistence_threshold=0"),
    ]
    reporter = Notes()
    summary = train(small(*run), reporter=reporter)
    assert summary["restarts"] == 1, reporter.notes
    assert "restart 1 of 2 from step-" in reporter.notes[0]
    found = last_weights(Path(summary["run_dir"]))
    unbroken = train(small(*run, f"tracking.runs={tmp_path / 'unbroken'}"))
    assert unbroken["restarts"] == 0
    for name, weight in last_weights(Path(unbroken["run_dir"])).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
