"""A graph, the whole of it in every minibatch, under every scheme."""

import pytest
import torch

from unlocked import load_config, train
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import load
from unlocked_models import Chain

SMALL = ["data.options={nodes: 120, classes: 3, words: 30}", "train.epochs=40", "train.evaluate_every=20"]
SMALL += ["train.probe_every=20", "tracking.uri=off"]


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni", "dni", "frozen"])
def test_a_graph_trains_under_every_scheme(scheme, tmp_path):
    summary = train(load_config("graph/gcn", [f"scheme.name={scheme}", *SMALL, f"tracking.runs={tmp_path}"]))
    metrics = summary["metrics"]
    assert metrics["test/accuracy"] > 0.4 or scheme == "frozen"  # one in three by chance
    assert ("align/module_0" in metrics) == (scheme not in ("backprop", "frozen"))
    assert (tmp_path / summary["run"] / "figures" / "confusion_matrix.png").exists()


def test_m_learns_the_gradient_of_the_nodes_that_are_asked_for():
    """Its target is that of the mean loss times the number of labelled nodes, 30, not of all 120."""
    config = load_config("graph/gcn", ["scheme.name=cdni", "train.precision=fp64", "model.dropout=0", *SMALL])
    data = load_data(config)
    plan = make_plan(config, data)
    (first,) = InProcessGroup(plan, data).run([(0, 1)], 1)
    below, above = (block.double() for block in build_blocks(config, data.example))
    batch = data.to(dtype=torch.float64).train.batch(torch.tensor([0]))
    h = below(batch.x, batch).detach().requires_grad_()
    (delta,) = torch.autograd.grad(plan.make_task().loss(above(h, batch), batch.y), h)
    assert first[0].series["sg/loss"] == [pytest.approx(float((30 * delta).square().sum()), rel=1e-9)]  # M says zero


def test_more_graphs_than_there_are_is_one_line():
    config = load_config("graph/gcn", ["data.batch_size=2"])
    with pytest.raises(ConfigError, match=r"data.batch_size: 2 is larger than the 1 training examples of communities"):
        make_plan(config, load_data(config))


@pytest.mark.parametrize("modules", [1, 2])
def test_backprop_through_the_modules_of_a_graph_is_plain_autograd(lab, modules):
    data = load("communities", validation=0.5)
    group = lab.start(
        data,
        model={"name": "gcn", "hidden": [6], "dropout": 0.0},
        parallel={"modules": modules},
        data={"name": "communities", "batch_size": 1, "validation": 0.5},
        optimizer={"name": "sgd", "lr": 0.5, "momentum": 0.0},
    )
    plan = group.modules[0].plan
    network = Chain(build_blocks(plan.config, plan.example)).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    batch = data.train.to(dtype=torch.float64).batch(torch.tensor([0]))
    for t in range(2):
        loss = group.modules[-1].learner.objective.loss(network(batch.x, batch), batch)
        assert lab.train(group, t, t + 1) == pytest.approx([loss.item()], rel=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lab.assert_close(lab.parameters(group), dict(network.named_parameters()), 1e-12)
