"""A configuration becomes a plan in one pass: how often the blocks of its net are built, and who shares them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from unlocked import train
from unlocked.errors import ConfigError, RunFailed
from unlocked.plan import blocks as plan_blocks
from unlocked.plan import make
from unlocked.plan.blocks import build_blocks, build_learner, build_net
from unlocked.runs.evaluate import evaluate_run
from unlocked_models import MODELS, register_model


@pytest.fixture
def builds(monkeypatch):
    """The device of every build from here on."""
    devices, build = [], plan_blocks.build

    def counted(*arguments, **options):
        made = build(*arguments, **options)
        devices.append(next(p.device.type for block in made for p in block.parameters()))
        return made

    monkeypatch.setattr(plan_blocks, "build", counted)
    return devices


@pytest.mark.parametrize("modules", [1, 3])
def test_a_run_builds_its_net_for_the_plan_and_for_its_workers(small, builds, modules):
    train(small(f"parallel.modules={modules}", "model.hidden=[12, 8]", "train.epochs=1"))
    assert sorted(builds) == ["cpu"] * 3 + ["meta"]  # the last: the outputs in the example of its MLflow model


def test_what_a_run_begins_with_is_checked_without_building_it_again(small, builds):
    source = train(small("train.epochs=1"))["run_dir"]
    builds.clear()
    train(small(f"transfer.run={source}", "train.epochs=1"))
    assert sorted(builds) == ["cpu"] * 4 + ["meta"]  # one more: weights of the blocks that are not transferred


def test_an_evaluation_rehearses_no_training(small, builds, monkeypatch):
    run = Path(train(small("train.epochs=1"))["run_dir"])
    builds.clear()
    monkeypatch.setattr(make, "rehearse", lambda *_: pytest.fail("rehearsed"))
    assert "test/accuracy" in evaluate_run(run)["metrics"]
    assert sorted(builds) == ["cpu", "cpu", "meta"]


@pytest.fixture
def shares(monkeypatch):
    """A model `shares` whose modules hold the same layer without weights."""
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(MODELS, kept, dict(getattr(MODELS, kept)))

    @register_model("shares")
    def make(in_shape, n_outputs):
        act = nn.Tanh()
        return [
            nn.Sequential(nn.Flatten(), nn.Linear(64, 8), act),
            nn.Sequential(nn.Linear(8, 8), act),
            nn.Linear(8, n_outputs),
        ]


def test_modules_of_one_process_share_no_layer(shares, lab):
    plan = lab.plan(model={"name": "shares"}, parallel={"modules": 3}, scheme={"name": "dfa"})
    blocks = build_net(plan, range(3))
    learners = [build_learner(plan, k, torch.device("cpu"), blocks) for k in range(3)]
    layers = [id(layer) for learner in learners for layer in learner.chain.modules()]
    assert len(layers) == len(set(layers))
    alone = [build_learner(plan, k, torch.device("cpu")) for k in range(3)]
    for one, other in zip(learners, alone, strict=True):
        lab.assert_equal(one.chain.state_dict(), other.chain.state_dict())


def test_a_builder_that_differs_from_call_to_call_is_refused(lab, monkeypatch):
    plan = lab.plan(model={"name": "mlp", "hidden": [8]})
    other = lab.config(model={"name": "mlp", "hidden": [9]})
    wider = build_blocks(other, plan.example)
    monkeypatch.setattr(plan_blocks, "build_blocks", lambda *_: wider)
    with pytest.raises(ConfigError, match="mlp differs from call to call"):
        build_net(plan, [0])


def test_blocks_without_room_are_one_line_that_names_the_module(lab, monkeypatch):
    plan = lab.plan(model={"name": "mlp", "hidden": [8]}, parallel={"modules": 2})

    def too_large(*_):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(plan_blocks, "build_blocks", too_large)
    with pytest.raises(RunFailed, match="module 1 of mlp does not fit into the memory of its worker"):
        build_learner(plan, 1, torch.device("cpu"))
