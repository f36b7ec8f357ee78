"""Several nets over Ray workers, a module each, give the numbers of one process to the last bit, draws included."""

from __future__ import annotations

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.phases import NetsGroup
from unlocked.launch.ray_nets import RayNetsGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

SMALL = ["model.generator=[16]", "model.discriminator=[14]", "parallel.modules=2", "parallel.engine=ray"]


@pytest.fixture
def over_four_actors(warm):
    """`RayNetsGroup` on the actors that stay."""
    return type("Warm", (RayNetsGroup,), {name: vars(warm)[name] for name in vars(warm) if not name.startswith("__")})


def all_of(group, start, stop):
    """Series, weights, images and alignments."""
    (stats,) = group.run([(start, stop)], stop)
    weights = {key: x for state in group.states(stop) for key, x in state["weights"].items()}
    return [s.series for s in stats], weights, group.outputs("test"), group.probe()


@pytest.mark.parametrize(
    "schemes", [["backprop"], ["dni"], ["cdni"], ["dfa"], ["frozen"], ["cdni", "dfa"]], ids=lambda each: "-".join(each)
)
def test_nets_over_workers_give_what_one_process_gives(over_four_actors, schemes):
    config = load_config(
        "adversarial/gan",
        [*SMALL, f"scheme.name={schemes[0]}", f"nets.discriminator.scheme.name={schemes[-1]}", "parallel.timeout=60"],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert plan.workers == 4
    one, over = NetsGroup(plan, data), over_four_actors(plan, data)
    try:
        for start, stop in ((0, 3), (3, 8)):
            (series, weights, images, found), (over_series, over_weights, over_images, over_found) = (
                all_of(group, start, stop) for group in (one, over)
            )
            assert series == over_series
            assert [key for key, x in weights.items() if not torch.equal(x, over_weights[key])] == []
            assert torch.equal(images, over_images)
            assert found == over_found
            one.load_states(over.states(stop))  # each goes on from the other's checkpoint
            over.load_states(one.states(stop))
    finally:
        over.close()
