"""The cost of what a scheme computes beside a module is what its steps are counted to do."""

import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unlocked import load_config
from unlocked.plan.describe import describe
from unlocked.schemes import SCHEMES
from unlocked.schemes.spec import ModuleSpec
from unlocked.tasks import TASKS
from unlocked_models.contract.batch import Example, ExtraShape

MLP = {"name": "mlp", "hidden": [17, 13, 11]}
CNN = {"name": "cnn", "channels": [3, 5], "hidden": [9]}


@pytest.fixture
def flops_alone(monkeypatch):
    """Numbers that are written count as nothing."""
    for module in ("unlocked.chain.partition", "unlocked.schemes.dni"):
        monkeypatch.setattr(sys.modules[module], "WRITING", 0)


def counted(group, t):
    with FlopCounterMode(display=False) as counter:
        list(group.run([(t, t + 1)], t + 1))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        (MLP, {"name": "dni", "sg": {"kind": "linear"}}),
        (MLP, {"name": "cdni", "sg": {"kind": "linear"}}),
        (CNN, {"name": "cdni"}),
        (MLP, {"name": "local"}),
        (CNN, {"name": "local", "local": {"kind": "predsim"}}),
    ],
)
def test_a_step_does_what_the_plan_says(lab, flops_alone, model, scheme):
    late = {"lag": 2} if scheme["name"] in ("dni", "cdni") else {}  # then M runs twice, to predict and to learn
    group = lab.start(model=model, scheme=scheme | late, parallel={"modules": 2, "partition": [1, 3]})
    plan = group.modules[0].plan
    lab.train(group, 0, 4)
    own = sum(plan.costs)
    if not plan.scheme.passes_gradients:  # no gradient of the input of the second module
        own -= plan.costs[1] / 3
    # similarities of the targets have no backward pass
    assert counted(group, 4) == pytest.approx(8 * (own + sum(plan.costs_beside)), rel=0.01 * (model is CNN))
    assert [cost > 0 for cost in plan.costs_beside] == [True, False]
    first, _ = describe(plan)
    assert first["cost_share"] == (plan.costs[0] + plan.costs_beside[0]) / (sum(plan.costs) + plan.costs_beside[0])


@pytest.mark.parametrize(("hops", "conditional"), [(0, False), (2, False), (2, True)])
def test_hops_and_context_are_a_part_of_the_cost_of_m(flops_alone, hops, conditional):
    example = Example((6, 5), 3, y_shape=(6,), extras=(ExtraShape("edge_index", (2,), torch.int64, ragged=True),))
    spec = ModuleSpec(0, 2, 0, 1, 2, (6, 5), (6, 4), example)
    name = "cdni" if conditional else "dni"
    config = load_config("quickstart", [f"scheme.name={name}", f"scheme.sg.hops={hops}", "scheme.sg.hidden=[]"])
    seen = 4 + 3 * conditional
    found = SCHEMES.get(name).cost(config, spec, TASKS.get("node_classification")())
    assert found == 3 * 2 * 6 * (1 + hops) * seen * 4  # at each of 6 nodes, from `seen` numbers of each hop to 4


def test_a_classifier_has_no_place_inside_an_encoder():
    example = Example((6,), 9, vocabulary=9, y_shape=(4,))
    spec = ModuleSpec(0, 2, 0, 1, 2, (6,), (6, 4), example, apart=True)
    assert SCHEMES.get("local").cost(load_config("quickstart"), spec, TASKS.get("translation")()) == float("inf")
