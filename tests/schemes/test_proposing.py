"""Training without gradients, against its equations; XOR by 2-2-1 nets under the schemes, and not by one layer."""

import math
from itertools import pairwise

import pytest
import torch

from unlocked.errors import ConfigError
from unlocked.schemes.proposing import AnnealConfig
from unlocked.seeding import derive_seed, step_seed

SMALL = {"name": "mlp", "hidden": [3]}


def started(lab, name, **options):
    return lab.start(model=SMALL, scheme={"name": name, **options})


def test_a_better_draw_replaces_the_weights_and_a_worse_one_does_not(lab):
    data = lab.data(n=8)  # one minibatch, the same at every step
    tree = {"model": SMALL, "scheme": {"name": "weight_search", "search": {"around": True, "scale": 0.2}}}
    group = lab.start(data, **tree, train={"epochs": 60})
    losses = lab.train(group, 0, 60)
    assert all(after <= before + 1e-12 for before, after in pairwise(losses))  # the order of the rows differs
    assert losses[-1] < losses[0]


def test_a_fresh_draw_does_not_begin_from_the_weights(lab):
    group = started(lab, "weight_search", search={"scale": 0.5})
    learner = group.modules[0].learner
    weight = torch.full((2, 3), 100.0, dtype=torch.float64)
    drawn = learner.proposed(1, weight, torch.Generator().manual_seed(0))
    expected = 0.5 * torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(drawn, expected)


def test_temperatures_are_boltzmanns_and_cauchys():
    boltzmann, cauchy = AnnealConfig("boltzmann", 2.0), AnnealConfig("cauchy", 2.0)
    assert [boltzmann.at(t) for t in (1, 9)] == pytest.approx([2 / math.log(2), 2 / math.log(10)])
    assert [cauchy.at(t) for t in (1, 9)] == pytest.approx([1.0, 0.2])


@pytest.mark.parametrize("schedule", ["boltzmann", "cauchy"])
def test_a_worse_proposal_is_kept_with_boltzmanns_probability(lab, schedule):
    group = started(lab, "annealing", anneal={"schedule": schedule, "temperature": 0.7})
    learner, generator = group.modules[0].learner, torch.Generator().manual_seed(0)
    t, rise = 4, torch.tensor(0.3)
    kept = sum(learner.accepts(t, rise, generator) for _ in range(4000)) / 4000
    assert kept == pytest.approx(math.exp(-0.3 / AnnealConfig(schedule, 0.7).at(t)), abs=0.03)
    assert learner.accepts(t, torch.tensor(-0.1), generator)
    assert not learner.accepts(t, torch.tensor(math.nan), generator)


def test_a_mixed_proposal_is_a_step_down_the_gradient_and_a_draw(lab):
    data = lab.data(n=8)
    anneal = {"schedule": "cauchy", "temperature": 0.4, "scale": 0.5, "backprop": 0.25}
    tree = {"model": SMALL, "scheme": {"name": "annealing", "anneal": anneal}, "optimizer": {"name": "sgd", "lr": 0.2}}
    plan, group = lab.plan(data, **tree), lab.start(data, **tree)
    learner = group.modules[0].learner
    learner.accepts = lambda *_: True
    network, batches = lab.network(plan), lab.batches(plan, data)
    lab.losses(network, batches.x(0).double(), batches.y(0))[1].backward()
    lab.train(group, 0, 1)
    generator = torch.Generator().manual_seed(step_seed(derive_seed(0, "proposals"), 0))
    for (name, weight), now in zip(network.named_parameters(), lab.parameters(group).values(), strict=True):
        draw = torch.empty(weight.shape, dtype=torch.float64).cauchy_(generator=generator)
        expected = weight - 0.25 * 0.2 * weight.grad + 0.75 * 0.5 * (0.4 / 2) * draw
        torch.testing.assert_close(now, expected.detach(), rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ["weight_search", "annealing"])
def test_a_resumed_search_is_the_same(lab, name):
    whole, first, second = (started(lab, name) for _ in range(3))
    lab.train(whole, 0, 8)
    lab.train(first, 0, 4, 4)
    second.load_states(first.states(4))
    lab.train(second, 4, 8)
    lab.assert_equal(lab.weights(second), lab.weights(whole))


@pytest.mark.parametrize("name", ["weight_search", "annealing"])
@pytest.mark.parametrize("key", ["modules", "replicas"])
def test_the_loss_that_is_searched_is_that_of_the_whole_net(lab, name, key):
    with pytest.raises(ConfigError, match=rf"^parallel.{key}: 2, but {name} keeps weights or not by the loss"):
        lab.plan(model=SMALL, scheme={"name": name}, parallel={key: 2, "engine": "auto"})


# exclusive or


def error_on_xor(lab, preset, seed, *words):
    """The largest error of the four rows."""
    group, data = lab.whole(f"xor/{preset}", f"seed={seed}", *words)
    given, wanted = group.outputs("test"), data.test.y
    if given.shape[1] == 2:  # of each class
        given, wanted = given.softmax(1)[:, 1:], wanted[:, None]
    return float((given - wanted).abs().max())


@pytest.mark.parametrize("preset", ["backprop", "dni", "cdni", "dfa", "local", "weight_search", "annealing", "mixed"])
def test_xor_is_solved_by_two_hidden_units(lab, preset, seed_to_learn):
    assert error_on_xor(lab, preset, seed_to_learn) < 0.4


def test_xor_is_not_solved_by_one_layer(lab):
    error = error_on_xor(lab, "backprop", 0, "model.hidden=[]", "parallel.modules=1", "train.steps=300")
    assert error > 0.45
