"""A task whose loss or metrics could not be used is refused in one line when the run is planned."""

import inspect
import re

import pytest
import torch
from torch.nn import functional as F

from unlocked import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.plan import task_rehearsal
from unlocked.plan.make import make_plan
from unlocked.tasks.classification import Classification
from unlocked.tasks.faults import checked_metrics

GOOD = {"loss": 1.0, "accuracy": 0.5}


def plan(lab):
    return make_plan(lab.config(model={"name": "mlp", "hidden": [6]}), lab.data())


def line(function):
    return inspect.getsourcelines(function)[1]


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda self, o, y: F.cross_entropy(o, y, reduction="none"), r"gives a tensor of shape \(8,\), .*\.mean\(\)"),
        (lambda self, o, y: F.cross_entropy(o, y).detach(), r"has no gradient at the outputs; .*\.detach\(\)"),
        (lambda self, o, y: F.cross_entropy(o, y).item(), "gives a float, not a tensor"),
        (lambda self, o, y: (o.argmax(1) == y).sum(), "gives int64, not a real number"),
        (lambda self, o, y: o[99], r"fails on the first minibatch at .*: IndexError.* \(outputs of shape \(8, 5\)"),
    ],
)
def test_a_loss_that_cannot_be_learned_from_is_refused(lab, monkeypatch, loss, told):
    monkeypatch.setattr(Classification, "loss", loss)
    where = rf"loss of classification \(.*test_task_rehearsal\.py:{line(loss)}\)"
    with pytest.raises(ConfigError, match=rf"^task: {where} .*{told}"):
        plan(lab)


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (lambda self, kept, y: GOOD | {"loss": F.cross_entropy(kept, y)}, r"gives a tensor of shape \(\) for loss"),
        (lambda self, kept, y: GOOD | {"accuracy": kept}, r"gives a tensor of shape \(8, 5\) for accuracy, .*float"),
        (lambda self, kept, y: {"loss": 1.0}, "gives no accuracy, which is needed; given: loss"),
        (lambda self, kept, y: None, "gives None, not a dict"),
        (lambda self, kept, y: GOOD | {3: 1.0}, "names a metric 3"),
    ],
)
def test_metrics_that_are_no_numbers_by_name_are_refused(lab, monkeypatch, metrics, told):
    monkeypatch.setattr(Classification, "metrics", metrics)
    where = r"metrics of classification \(.*test_task_rehearsal\.py:\d+\)"
    with pytest.raises(ConfigError, match=rf"^task: {where} {told}"):
        plan(lab)


def test_metrics_that_need_more_than_one_minibatch_are_left_to_the_run(lab, monkeypatch):
    def needs_many(self, kept, target):
        assert len(kept) > 8

    monkeypatch.setattr(Classification, "metrics", needs_many)
    plan(lab)


def test_of_a_large_net_only_what_the_loss_gives_is_looked_at(lab, monkeypatch):
    """Its outputs are random numbers there, which need not be probabilities."""
    monkeypatch.setattr(task_rehearsal, "QUICK", 0)
    monkeypatch.setattr(Classification, "loss", lambda self, o, y: F.binary_cross_entropy(o, o.detach()))
    plan(lab)
    monkeypatch.setattr(Classification, "loss", lambda self, o, y: o.sum(1))
    with pytest.raises(ConfigError, match=r"gives a tensor of shape \(2,\)"):
        plan(lab)


def test_a_rehearsal_draws_nothing_from_the_run(lab, monkeypatch):
    monkeypatch.setattr(Classification, "loss", lambda self, o, y: F.cross_entropy(o + torch.randn_like(o), y))
    torch.manual_seed(3)
    plan(lab)
    first = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(first, torch.rand(1))


def test_metrics_of_the_end_of_a_run_are_checked_as_well():
    assert checked_metrics(Classification(), {"more": 1.0}, "final_metrics") == {"more": 1.0}
    with pytest.raises(RunFailed, match=r"^task: final_metrics of classification .* a tensor of shape \(2,\) for more"):
        checked_metrics(Classification(), {"more": torch.zeros(2)}, "final_metrics")


def test_a_loss_is_refused_before_a_run_folder_is_made(tmp_path, monkeypatch):
    from unlocked import train

    monkeypatch.setattr(Classification, "loss", lambda self, o, y: o)
    options = ["parallel.engine=inprocess", "tracking.uri=off", f"tracking.runs={tmp_path}"]
    with pytest.raises(ConfigError, match=re.escape("task: loss of classification")):
        train(load_config("quickstart", options))
    assert not list(tmp_path.iterdir())
