"""`unlocked check`: each finding on a net that has the fault, and on one that has not."""

import json

import pytest
import torch
from torch import nn

from unlocked.cli.main import main
from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.insight import checkup as checks
from unlocked.plan.plan import load_data
from unlocked.schemes.units import counted
from unlocked_models import register_model

SMALL = [
    *("data.examples=128", "data.validation=0", "model.norm=none"),
    *("parallel.modules=1", "parallel.partition=null", "parallel.threads=1"),
]


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return h**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient  # not 2 h


class Faulty(nn.Module):
    def forward(self, h):
        return Wrong.apply(h)


@register_model("faulty_for_check")
def faulty_for_check(in_shape, n_outputs):
    yield nn.Sequential(nn.Flatten(), nn.Linear(64, 5), Faulty())
    yield nn.Linear(5, n_outputs)


def looked(judge, *words):
    config, report = load_config("quickstart", [*SMALL, *words]), checks.Report()
    judge(config, report)
    return report.findings[-1]


def test_gradients_are_compared_with_differences():
    sound = looked(checks._check_numerically, "model.hidden=[6]")
    assert sound.ok is True
    assert "all 4 parameters agree" in sound.words
    config, report = load_config("quickstart", [*SMALL, "model.hidden=[6]"]), checks.Report()
    config.model = {"name": "faulty_for_check"}
    checks._check_numerically(config, report)
    (broken,) = report.findings
    assert broken.ok is False
    assert "0.1.weight" in broken.words
    assert "1.bias" not in broken.words.replace("0.1.bias", "")


def test_one_minibatch_is_learned_by_heart_or_not():
    words = ("model.hidden=[32]", "data.batch_size=16", "scheme.name=backprop")
    assert looked(lambda c, r: checks._check_memory(c, r, 60), *words, "optimizer.lr=0.01").ok is True
    slow = looked(lambda c, r: checks._check_memory(c, r, 20), *words, "optimizer.lr=1e-7")
    assert slow.ok is False
    assert "a higher optimizer.lr" in slow.words


def test_dead_and_saturated_units_are_counted():
    layer = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sigmoid())
    with torch.no_grad():
        layer[0].weight.zero_()
        layer[0].bias.copy_(torch.tensor([-1.0, -1.0, -1.0, 9.0]))
    with counted(layer) as units:
        layer(torch.randn(5, 3))
    assert units.dead.item() == 0.75
    assert units.saturated.item() == 0.25
    with counted(nn.Linear(3, 4)) as none:
        pass
    assert none.dead is None
    assert none.saturated is None


def test_a_gradient_that_vanishes_is_told_and_one_that_does_not_is_not():
    deep = "model.hidden=[16,16,16,16,16,16,16,16]"
    reports = {}
    for activation in ("sigmoid", "relu"):
        config = load_config("quickstart", [*SMALL, deep, f"model.activation={activation}", "init={name: xavier}"])
        report = checks.Report(gradients={"as configured": checks.gradients(config, load_data(config))})
        checks._judge_gradients(report)
        reports[activation] = report
    assert len(reports["relu"].gradients["as configured"]) == 9
    assert [report.findings[0].ok for report in reports.values()] == [False, True]
    assert "it vanishes" in reports["sigmoid"].findings[0].words


def test_gradients_by_block_are_those_of_autograd(lab):
    data = lab.data()
    plan = lab.plan(data, model={"name": "mlp", "hidden": [6]})
    found = checks.gradients(plan.config, data)
    network, batches = lab.network(plan), lab.batches(plan, data)
    lab.losses(network, batches.x(0).double(), batches.y(0))[1].backward()
    expected = [p.grad.square().mean().sqrt().item() for p in network.parameters() if p.dim() > 1]
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_suggested_rate_is_where_the_loss_falls_steepest():
    flat = [(10.0**-e, 2.0) for e in range(6, 0, -1)]
    assert checks.suggested(flat) is None
    assert checks.suggested([*flat[:3], (1e-3, 1.0), (1e-2, 0.5), (1e-1, 9.0)]) in (1e-4, 1e-3)


def test_the_command_reports_draws_and_ends_with_1_for_a_fault(tmp_path, capsys):
    words = ["check", "quickstart", *SMALL, "model.hidden=[12]", "optimizer.lr=1e-7", "--steps", "20", "--json"]
    words += ["model.activation=tanh"]
    assert main([*words, "--variant", "model.activation=sigmoid", "--out", str(tmp_path / "out")]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {each["check"]: each["ok"] for each in found["findings"]}["one minibatch"] is False
    assert list(found["gradients"]) == ["as configured: model.activation=tanh", "model.activation=sigmoid"]
    assert (tmp_path / "out" / "gradients.png").stat().st_size > 1000
    assert (tmp_path / "out" / "rates.png").stat().st_size > 1000


def test_several_nets_have_no_one_gradient():
    with pytest.raises(ConfigError, match=r"^check: \w+ has several nets"):
        checks.checkup(load_config("adversarial/gan"), {}, 10)
