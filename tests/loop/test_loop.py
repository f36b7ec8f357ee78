"""The loop: it stops when it should, says why, and leaves what it promised."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.engine.group import InProcessGroup
from unlocked.errors import RunFailed, RunInterrupted, UnlockedError
from unlocked.loop import train as loop
from unlocked.loop import trainer
from unlocked.loop.train import Silent, resume, train
from unlocked.loop.trainer import Trainer
from unlocked.runs.checkpoint import Checkpoints, load_states
from unlocked.runs.evaluate import evaluate_run
from unlocked.runs.folder import RunFolder
from unlocked.schemes import DNI, SCHEMES
from unlocked.tracking import read


def test_early_stopping_stops_says_so_and_keeps_the_best_and_the_last(small, reporter):
    summary = train(small("optimizer.lr=0.05", "train.epochs=60", "train.patience=3"), reporter=reporter)
    assert summary["epochs"] < 60
    assert reporter.notes == ["stopped early: 3 evaluations without a better val/accuracy"]
    checkpoints = Checkpoints(Path(summary["run_dir"]))
    last, _ = load_states(checkpoints.last(), 2)
    assert (last.step, last.stopped_early) == (summary["steps"], True)
    best = int(checkpoints.best().name.removeprefix("step-"))
    assert best == last.best_step == summary["steps"] - 3 * (summary["steps"] // summary["epochs"])
    assert resume(Path(summary["run_dir"]))["steps"] == summary["steps"]  # it stays stopped


def test_the_test_split_is_measured_with_the_best_weights_and_not_with_the_last(small):
    summary = train(small("optimizer.lr=0.05", "train.epochs=60", "train.patience=3"))
    run_dir = Path(summary["run_dir"])
    tested = {key: value for key, value in summary["metrics"].items() if key.startswith("test/")}
    best, last = (evaluate_run(run_dir, weights=which)["metrics"] for which in ("best", "last"))
    assert best["test/loss"] != last["test/loss"]
    assert tested == best


def test_of_equal_validation_metrics_the_one_of_the_smaller_loss_is_best(small, monkeypatch):
    script = iter([(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.8), (0.8, 0.7), (0.7, 0.1)])

    def scripted(run, group, split):
        accuracy, loss = next(script)
        return {"accuracy": accuracy, "loss": loss}

    monkeypatch.setattr(Trainer, "_evaluate", scripted)
    summary = train(small("train.epochs=6"))
    best = Checkpoints(Path(summary["run_dir"])).best()
    assert int(best.name.removeprefix("step-")) == 3 * summary["steps"] // 6
    assert summary["metrics"]["best/val_accuracy"] == 0.8


def test_evaluate_repeats_the_test_metrics_of_the_summary(small):
    summary = train(small("model.norm=batch", "train.epochs=4"))
    assert summary["tested"] == "best"
    found = evaluate_run(Path(summary["run_dir"]))
    tested = {key: value for key, value in summary["metrics"].items() if key.startswith("test/")}
    assert found["metrics"] == tested


def test_the_weights_load_into_a_plain_sequential_where_unlocked_cannot_be_imported(small, tmp_path):
    summary = train(small("model.norm=batch", "train.epochs=6"))
    best = Checkpoints(Path(summary["run_dir"])).best() / "model.safetensors"
    code = f"""
import sys
sys.modules["unlocked"] = sys.modules["unlocked_models"] = None  # importing either is an error
import torch
from safetensors.torch import load_file
from torch import nn
network = nn.Sequential(
    nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU()),
    nn.Sequential(nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU()),
    nn.Linear(16, 10))
print(network.load_state_dict(load_file({str(best)!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "All keys matched" in done.stdout


@pytest.mark.parametrize("scheme", ["backprop", "cdni"])
def test_a_loss_that_is_no_number_ends_the_run_at_its_step_and_module(small, scheme, monkeypatch):
    step = 47

    class Poisoned(InProcessGroup):
        """The second module's weights become NaN before step 47, as a huge learning rate would have it."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            last, run = self.modules[-1], self.modules[-1].forward_phase

            def poisoned(t):
                if t == step:
                    with torch.no_grad():
                        next(last.learner.chain.parameters()).fill_(math.nan)
                run(t)

            last.forward_phase = poisoned

    monkeypatch.setattr("unlocked.engine.group.InProcessGroup", Poisoned)
    with pytest.raises(RunFailed) as failure:
        train(small(f"scheme.name={scheme}", "train.epochs=5"))
    message = str(failure.value)
    assert message.startswith(f"the loss became NaN or infinite at step {step}, first in module ")
    last = Path(message.rpartition("the last good checkpoint is ")[2])
    progress, states = load_states(last, 2)
    assert progress.step == 40
    assert all(weight.isfinite().all() for state in states for weight in state["weights"].values())


@pytest.fixture
def talkative(monkeypatch):
    """A scheme of somebody's own, whose learners record what they like; `say(learner, t)` after each step."""

    class Talkative(DNI):
        def step(self, t, h_in, batch, ports):
            super().step(t, h_in, batch, ports)
            self.say(t)

    monkeypatch.setitem(SCHEMES._entries, "talkative", Talkative)
    return Talkative


def test_every_series_that_a_learner_records_is_logged(small, talkative):
    def say(learner, t):
        learner.record("spread", torch.tensor(float(t + 10 * learner.spec.index)))
        if learner.spec.is_last and t % 20 == 3:
            learner.record("my/now_and_then", torch.tensor(0.5))

    talkative.say = say
    summary = train(small("scheme.name=talkative", "scheme.synthetic_inputs=true", "train.log_every=10"))
    logged = read(Path(summary["run_dir"]))
    assert logged["spread/module_0"][0] == (10, 4.5)
    assert logged["spread/module_1"][-1] == (60, 64.5)
    assert logged["my/now_and_then/module_1"] == [(10, 0.5), (30, 0.5), (50, 0.5)]
    assert logged["inputs/loss/module_1"][-1][1] < logged["inputs/loss/module_1"][0][1]  # I learns
    assert summary["metrics"]["spread/module_0"] == 54.5


def test_a_series_of_one_s_own_that_is_no_number_is_named(small, talkative):
    talkative.say = lambda learner, t: learner.record("spread", torch.tensor(math.inf if t == 7 else 1.0))
    with pytest.raises(RunFailed, match=r"^the series spread became NaN or infinite at step 7, first in module 0; "):
        train(small("scheme.name=talkative"))


@pytest.mark.parametrize(
    ("value", "words"), [(torch.ones(3), r"a tensor \(3,\)"), (0.5, "float"), (torch.ones(1), r"a tensor \(1,\)")]
)
def test_a_series_of_what_is_no_single_number_is_refused_in_one_line(small, talkative, value, words):
    talkative.say = lambda learner, t: learner.record("spread", value)
    with pytest.raises(RunFailed, match=rf"^Talkative: record\('spread', ...\) takes one number, .* not {words}$"):
        train(small("scheme.name=talkative"))


def test_a_huge_learning_rate_ends_in_one_line_with_a_way_out(small):
    with pytest.raises(RunFailed) as failure:
        train(small("scheme.name=backprop", "optimizer.name=sgd", "optimizer.lr=1e30", "train.epochs=30"))
    message = str(failure.value)
    assert " became NaN or infinite at step " in message
    assert "in module " in message
    assert "a lower optimizer.lr" in message
    assert "\n" not in message


class Interrupts(Silent):
    """Sends Ctrl-C to this process when it hears of a step."""

    def __init__(self, at: int):
        self.at = at

    def segment(self, step, values):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("scheme", "lag"), [("cdni", 3), ("dfa", 2), ("dfa", 7), ("backprop", 0)])
@pytest.mark.parametrize("at", [24, 36, 40])  # in an epoch, so near its end that lag crosses it, at its end
def test_an_interrupted_run_resumes_to_the_same_weights_and_points(small, scheme, lag, at):
    config = ["train.epochs=4", "train.log_every=12", f"scheme.name={scheme}", f"scheme.lag={lag}", "model.dropout=0.2"]
    unbroken = Path(train(small(*config))["run_dir"])
    with pytest.raises(RunInterrupted, match="unlocked train --resume") as interrupted:
        train(small(*config), reporter=Interrupts(at))
    run_dir = Path(str(interrupted.value).partition("--resume ")[2])
    resume(run_dir)
    expected = load_file(Checkpoints(unbroken).last() / "model.safetensors")
    found = load_file(Checkpoints(run_dir).last() / "model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    timeless = {key: points for key, points in read(unbroken).items() if not key.startswith("time/")}
    assert {key: points for key, points in read(run_dir).items() if not key.startswith("time/")} == timeless


def test_a_second_process_on_the_same_run_is_refused(small, tmp_path):
    run_dir = Path(train(small())["run_dir"])
    folder, _ = RunFolder.open(run_dir)
    try:
        with pytest.raises(UnlockedError, match=f"is being trained by process {os.getpid()}"):
            resume(run_dir)
    finally:
        folder.release()
    assert resume(run_dir)["steps"] == 3 * 20


def test_a_dead_tracking_server_does_not_end_a_run(small, reporter, monkeypatch):
    started = loop.Tracker.start
    monkeypatch.setattr(loop.Tracker, "start", lambda *a, **k: started(*a, **k, give_up=0.5))
    summary = train(small("tracking.uri=http://127.0.0.1:9"), reporter=reporter)
    assert summary["metrics"]["test/accuracy"] > 0.2
    assert len(reporter.notes) == 1
    assert "kept in" in reporter.notes[0]
    assert len(read(Path(summary["run_dir"]))["val/loss"]) == 3


def test_one_module_is_told_that_it_learns_by_backprop(small, reporter):
    words = ("train.epochs=1", "data.examples=100", "parallel.modules=1")
    train(small("scheme.name=frozen", *words), reporter=reporter)
    assert reporter.notes == ["one module learns by backprop, also with scheme.name=frozen; try parallel.modules=2"]
    reporter.notes.clear()
    train(small("scheme.name=backprop", *words), reporter=reporter)
    assert reporter.notes == []


def test_metrics_that_are_nan_are_told(small, reporter, monkeypatch):
    nothing = {"loss": math.nan, "accuracy": math.nan}
    monkeypatch.setattr(trainer, "measured", lambda *_: dict(nothing))
    train(small("train.epochs=1", "scheme.name=backprop", "data.examples=100"), reporter=reporter)
    split = [note.partition(":")[0] for note in reporter.notes]
    assert split == ["loss and accuracy of the validation split", "loss and accuracy of the test split"]
