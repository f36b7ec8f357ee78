"""The plain loop, and that the platform's backprop is held against it: short runs, the same to rounding."""

from __future__ import annotations

import json
import math

import pytest
import torch

from unlocked.bench.measured import plain, reference
from unlocked.bench.measured.plain import OBJECTIVES, PlainRun
from unlocked.cli.main import main
from unlocked.data import Split
from unlocked.optim import lr_factor
from unlocked.schema.keys import OptimizerConfig
from unlocked.tasks import TASKS
from unlocked_models import Batch

ROUNDING = 1e-5  # relative; losses of a split are summed in single precision here, in double by the platform

# Noise and a penalty whose weight rises; weights of a pre-training, and a best epoch before the last one; dropout; a
# clipped gradient, of one module, since several are clipped each by itself.
SHORT = {
    "autoencoder/vae": ["train.epochs=2", "data.batch_size=256", "model.warmup=4", "optimizer.warmup=3"],
    "autoencoder/pretrained": ["train.epochs=5", "pretrain.epochs=1", "optimizer.lr=0.1", "data.validation=0.3"],
    "recurrent/gru": ["train.epochs=2", "model.dropout=0.3", "model.hidden=[16, 16]", "data.batch_size=128"],
    "recurrent/sunspots": ["train.epochs=3", "parallel.modules=1", "optimizer.clip_norm=0.1"],
}


@pytest.mark.parametrize("preset", SHORT)
def test_backprop_of_the_platform_is_that_of_the_plain_loop_to_rounding(preset):
    (found,) = reference.compare([preset], SHORT[preset])
    assert [found.difference(name) for name in found.names] == pytest.approx([0] * len(found.names), abs=ROUNDING)


@pytest.mark.slow("two epochs in each of two loops, twice")
def test_a_plain_loop_at_another_learning_rate_fails_the_comparison(monkeypatch, capsys):
    build = plain.build_schedule

    def faster(given, optimizer, steps):
        optimizer.param_groups[0]["lr"] *= 1.5
        return build(given, optimizer, steps)

    command = ["bench", "reference", "recurrent/gru", "--epochs", "2", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["reference"]["recurrent/gru"]["holds"] is True
    monkeypatch.setattr(plain, "build_schedule", faster)
    assert main(command) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["reference"]["recurrent/gru"]
    assert told["holds"] is False
    assert max(told["difference"].values()) > reference.TOLERANCE


def test_states_are_carried_and_evaluated_as_by_the_engine(lab):
    data = lab.stream(n=32)
    group = lab.start(
        data,
        data={"validation": 0.0},
        train={"epochs": 2, "precision": "fp32"},
        model={"name": "lstm", "hidden": [6], "embedding": 4, "carry": True},
    )
    plan = group.modules[0].plan
    lab.train(group, 0, plan.total_steps)
    task = plan.make_task()
    expected = task.metrics(group.outputs("test"), data.test.y)
    found = PlainRun(plan, data).complete()
    assert found == {name: pytest.approx(expected[name], rel=ROUNDING) for name in found}
    assert plan.carries


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules_of_torch_give_the_learning_rates_of_the_platform(schedule, warmup):
    given = OptimizerConfig(name="sgd", lr=0.1, schedule=schedule, warmup=warmup)
    optimizer = plain.build_optimizer(given, [torch.nn.Parameter(torch.zeros(1))])
    stepped, factor = plain.build_schedule(given, optimizer, 10), lr_factor(given, 10)
    for step in range(10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (factor(step) if factor else 1.0), rel=1e-9)
        optimizer.step()
        stepped.step()


@pytest.mark.parametrize("task", OBJECTIVES)
def test_plain_objectives_are_those_of_the_tasks(task):
    g = torch.Generator().manual_seed(0)
    tokens = "modelling" in task or task == "translation"
    x = torch.rand(4, 3, dtype=torch.float64, generator=g)
    y = {
        "classification": torch.randint(5, (4,), generator=g),
        "regression": torch.rand(4, 5, dtype=torch.float64, generator=g),
    }.get(task, torch.tensor([[1, 2, 0], [3, 0, 4], [1, 0, 0], [2, 4, 0]]))
    output = torch.randn(
        4, *((3, 5) if tokens else (3,) if "reconstruction" in task else (5,)), dtype=torch.float64, generator=g
    )
    ours, measure = TASKS.get(task)(), OBJECTIVES[task]
    loss, local = plain.losses([_Gives(output)], Batch(x, y), measure)
    target = ours.target(Split(x, y))
    assert float(loss) == pytest.approx(float(ours.loss(output, target)), rel=1e-9)
    assert float(local) == 0
    metrics = ours.metrics(ours.keep(output, target), target)
    compared = {
        name: float(total) / n
        for name, (total, n) in measure.measure(output, Batch(x, y)).items()
        if name in ("accuracy", "mse")
    }
    assert compared == {name: pytest.approx(metrics[name], rel=1e-9) for name in compared}
    assert ours.monitor == measure.monitor


class _Gives(torch.nn.Module):
    """Whatever it is given."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, h):
        return self.output


def test_without_names_the_presets_of_the_matrix_are_compared():
    assert {"recurrent/text", "seq2seq/luong", "transformer/bert", "autoencoder/sparse_coding"} <= {
        *reference.matrix_presets()
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recurrent/gru", "train.precision=bf16"], "train.precision: bf16 in recurrent/gru, but the plain loop"),
        (["recurrent/gru", "--seeds", "0,x"], "--seeds: '0,x' is no list of seeds"),
        (["recurrent/gru", "--epochs", "0"], "--epochs: must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_trains(words, message, capsys):
    assert main(["bench", "reference", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_difference_from_something_that_is_no_number_is_infinite():
    assert reference.relative(math.nan, 1.0) == reference.relative(1.0, math.nan) == math.inf
    assert reference.relative(1.0, 0.0) == math.inf
