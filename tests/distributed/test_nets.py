"""Several nets over Ray workers, give the numbers of one process to the last bit, draws included."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from unlocked.config import load_config
from unlocked.data.dataset import Split
from unlocked.engine.phases import NetsGroup
from unlocked.launch.ray_nets import RayNetsGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.cycle import CLASSES, OTHER

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


ACROSS = ["parallel.modules_per_worker=2", "parallel.modules=3", "model.generator=[16,12]"]  # a worker has both nets


@pytest.mark.parametrize(
    ("schemes", "more", "workers"),
    [
        (["backprop"], [], 4),
        (["dni"], [], 4),
        (["cdni"], [], 4),
        (["dfa"], [], 4),
        (["frozen"], [], 4),
        (["cdni", "dfa"], ["scheme.lag=2"], 4),
        (["dfa", "dni"], ["scheme.lag=2", *ACROSS, "model.discriminator=[14,10]"], 3),
        (["backprop"], [*ACROSS, "model.discriminator=[14,10]"], 3),
        (["cdni"], ["nets.generator.scheme.lag=1", "parallel.modules_per_worker=4"], 1),
        (["cdni"], ["objective.replay=40", "objective.steps=2"], 4),
        (["cdni"], ["objective.loss=wasserstein", "nets.discriminator.parallel.modules=1", "model.kernels=3"], 3),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else str(each),
)
def test_nets_over_workers_give_what_one_process_gives(over_four_actors, schemes, more, workers):
    config = load_config(
        "adversarial/gan",
        [
            *SMALL,
            f"scheme.name={schemes[0]}",
            f"nets.discriminator.scheme.name={schemes[-1]}",
            "parallel.timeout=60",
            *more,
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert plan.workers == workers
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


MADE = {
    "growing": ["model.channels=[8,6]", "data.options.side=null"],
    "stylegan": ["model.channels=4", "model.style=6", "model.latent=4"],
    "cyclegan": ["model.channels=4", "model.tells=4", "data.name=digits", "parallel.modules=1"],
}


@pytest.mark.parametrize(("preset", "scheme"), [("growing", "dfa"), ("stylegan", "cdni"), ("cyclegan", "dni")])
def test_grown_styled_and_translating_nets_do_too(over_four_actors, preset, scheme):
    """Fading, style mixing and noise are draws of a pass; in a cycle two nets learn, each through the other."""
    words = [*MADE[preset], f"scheme.name={scheme}", "parallel.engine=ray", "parallel.timeout=60"]
    config = load_config(f"adversarial/{preset}", ["parallel.modules=2", *words])
    data = load_data(config)
    if preset == "cyclegan":
        data = replace(data, train=with_another_domain(data.train), test=with_another_domain(data.test))
    plan = make_plan(config, data)
    assert plan.workers == 4
    one, over = NetsGroup(plan, data), over_four_actors(plan, data)
    try:
        mine, theirs = (all_of(group, 0, 4) for group in (one, over))
        assert mine[0] == theirs[0]
        assert [key for key, x in mine[1].items() if not torch.equal(x, theirs[1][key])] == []
        assert torch.equal(mine[2], theirs[2])
        assert mine[3] == theirs[3]
    finally:
        over.close()


def with_another_domain(split: Split) -> Split:
    """The same images upside down."""
    return Split(split.x, split.y, {OTHER: split.x.flip(2), CLASSES: split.y})


def test_two_replicas_learn_by_the_mean_of_their_gradients_in_every_phase(over_four_actors):
    """Without what depends on the rows of a minibatch together: batch norm, and draws of each replica's own."""
    plain = ["model.norm=none", "model.dropout=0", "model.noise=0", "train.precision=fp64", "scheme.name=cdni"]
    words = [*SMALL, *plain, "parallel.modules_per_worker=2", "parallel.timeout=60"]
    data = load_data(load_config("adversarial/gan", words))
    one, over = (make_plan(load_config("adversarial/gan", [*words, f"parallel.replicas={n}"]), data) for n in (1, 2))
    assert (over.workers, over.learners) == (4, 2 * one.learners)
    alone, group = NetsGroup(one, data), over_four_actors(over, data)
    try:
        (series, weights, images, found), (over_series, over_weights, over_images, over_found) = (
            all_of(each, 0, 8) for each in (alone, group)
        )
        for mine, theirs in zip(series, over_series, strict=True):
            assert theirs.keys() == mine.keys()
            for name, values in mine.items():
                if not name.startswith("sg/relative_loss"):  # a ratio: the mean of two is not that of the whole
                    assert theirs[name] == pytest.approx(values, rel=1e-9), name
        for key, x in weights.items():
            torch.testing.assert_close(over_weights[key], x, rtol=0, atol=1e-9)
        torch.testing.assert_close(over_images, images, rtol=0, atol=1e-9)
        assert over_found.keys() == found.keys()
        group.load_states(group.states(8))
    finally:
        group.close()


def test_the_timeline_of_nets_over_workers_has_each_modules_turns_and_waits(over_four_actors):
    config = load_config("adversarial/gan", [*SMALL, "scheme.name=cdni", "tracking.timeline=3", "parallel.timeout=60"])
    data = load_data(config)
    plan = make_plan(config, data)
    group = over_four_actors(plan, data)
    try:
        (stats,) = group.run([(0, 24)], 24)
    finally:
        group.close()
    for s in stats:
        assert {span.t for span in s.spans} == {20, 21, 22}
        within = ("waiting", "update", "M")
        turns = sorted((span for span in s.spans if span.what not in within), key=lambda span: span.begin)
        assert {"forward", "feedback"} <= {span.what for span in turns}
        assert all(one.end <= other.begin + 1e-3 for one, other in pairwise(turns))
    assert any(span.what == "passing" for span in stats[-1].spans)  # the discriminator, while the generator learns
    assert any(span.what == "waiting" for s in stats for span in s.spans)
    for s in stats:
        assert {span.t for span in s.spans if span.what == "update"} == {20, 21, 22}
    assert any(span.what == "M" for span in stats[0].spans)
