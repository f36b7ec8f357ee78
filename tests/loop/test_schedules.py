"""Schedules of the rate against torch's own, lengths in steps, and the plateau, which a run measures."""

from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

from unlocked import resume, train
from unlocked.config import load_config
from unlocked.errors import ConfigError, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.train import Silent
from unlocked.optim import lr_factor
from unlocked.optim.rates import depends_on_length
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints
from unlocked.runs.longer import lengthen
from unlocked.schema.keys import OptimizerConfig


def factors(steps, **options):
    factor = lr_factor(OptimizerConfig(**options), steps)
    return [factor(t) for t in range(steps)]


@pytest.mark.parametrize(
    ("options", "make"),
    [
        (
            {"schedule": "step", "decay": 0.3, "decay_every": 7},
            lambda optimizer: lr_scheduler.StepLR(optimizer, 7, gamma=0.3),
        ),
        (
            {"schedule": "exponential", "decay": 0.3, "decay_every": 1},
            lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.3),
        ),
        (
            {"schedule": "restarts", "decay_every": 4, "cycle_growth": 2},
            lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, 2),
        ),
        ({"schedule": "one_cycle"}, lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=30)),
        ({"schedule": "cosine"}, lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 30)),
        (
            {"schedule": "inverse", "decay_every": 5},
            lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t / 5)),
        ),
    ],
)
def test_schedules_are_those_of_torch(options, make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, expected = make(optimizer), []
    for _ in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert factors(30, **options) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_schedule_begins_after_the_warm_up_and_decays_in_thirds_of_what_is_left():
    seen = factors(11, schedule="step", warmup=2, decay=0.5)
    assert seen == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])


def test_only_a_schedule_with_its_own_steps_is_the_same_in_a_longer_run():
    def told(**options):
        return depends_on_length(OptimizerConfig(**options))

    assert [told(schedule=name) for name in ("constant", "plateau", "step", "cosine")] == [False, False, True, True]
    assert not told(schedule="step", decay_every=4)


def test_a_run_of_steps_ends_after_them_and_is_evaluated_between_epochs(small):
    config = small("train.steps=30", "train.evaluate_steps=8", "train.log_every=4")
    plan = make_plan(config, load_data(config))
    assert (plan.total_steps, plan.epochs) == (30, 2)
    summary = train(config)
    assert summary["steps"] == 30
    run = Path(summary["run_dir"])
    lines = [line for line in (run / "tracking" / "spool.jsonl").read_text().splitlines() if "val/loss" in line]
    assert len([line for line in lines if '"step"' in line]) >= 4
    with pytest.raises(ConfigError, match=r"run of train.steps=30, which no epochs make longer"):
        lengthen(run, ["train.epochs=40"])


class StopAfter(Silent):
    """Asks to save and stop after an epoch."""

    def __init__(self, stop, after):
        self._stop, self._after = stop, after

    def epoch(self, epoch, values):
        self._stop.asked = epoch == self._after
        return False


def test_the_rate_falls_on_a_plateau_and_a_resumed_run_has_the_same(small, reporter):
    words = ("optimizer.schedule=plateau", "optimizer.plateau_patience=1", "optimizer.decay=0.5", "optimizer.lr=0.3")
    whole = train(small(*words, "train.epochs=5", "data.examples=64"), reporter=reporter)
    fallen = [note for note in reporter.notes if "plateau" in note]
    assert fallen, "at this rate no evaluation is better than all before"
    stop, config = StopSignal(), small(*words, "train.epochs=5", "data.examples=64", "name=cut")
    with pytest.raises(RunInterrupted):
        train(config, stop=stop, reporter=StopAfter(stop, 3))
    cut = next(path for path in Path(whole["run_dir"]).parent.iterdir() if path.name.startswith("cut"))
    resume(cut)
    ends = [Checkpoints(run).newest(2, print)[0] for run in (Path(whole["run_dir"]), cut)]
    assert ends[0].lr_scale == ends[1].lr_scale < 1
    assert ends[0].metrics["train/loss"] == ends[1].metrics["train/loss"]


def test_the_scale_of_a_plateau_multiplies_every_rate(lab):
    group = lab.start(
        model={"name": "mlp", "hidden": [6]},
        parallel={"modules": 2},
        scheme={"name": "dni", "sg": {"lr": 0.03}},
        optimizer={"lr": 0.1, "warmup": 3},
    )
    group.scale_rates(0.5)
    lab.train(group, 0, 6)
    rates = [o.param_groups[0]["lr"] for o in group.modules[0].learner.optimizers()]
    assert rates == pytest.approx([0.05, 0.015])


def planned(words):
    config = load_config("quickstart", words)
    return make_plan(config, load_data(config))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["optimizer.schedule=plateau", "data.validation=0"], "digits has no validation split; set data.validation"),
        (["optimizer.schedule=cosin"], "optimizer.schedule: unknown schedule 'cosin'; did you mean 'cosine'?"),
        (["train.steps=9", "sweep.pruner=median"], "train.steps: 9, but sweep.pruner ends trials by epochs"),
    ],
)
def test_schedules_that_cannot_be_are_refused(words, line):
    with pytest.raises(ConfigError) as caught:
        planned(words)
    assert line in str(caught.value)
