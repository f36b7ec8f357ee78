"""Contrastive divergence: its update, its samples, and what it is refused for."""

from pathlib import Path

import pytest
import torch

from unlocked import load_config
from unlocked.data import DataSet, Split
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.generate import generate
from unlocked.loop.train import train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import Density
from unlocked_models.boltzmann import rbm
from unlocked_models.contract.chain import Chain

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient


def binary(n=48, shape=(1, 2, 4)):
    generator = torch.Generator().manual_seed(0)
    train, test = (
        Split(torch.randint(0, 2, (n, *shape), generator=generator).float(), torch.zeros(n, dtype=torch.long))
        for _ in range(2)
    )
    return DataSet("made", "classification", shape, 2, ["0", "1"], train, None, test)


def start(lab, scheme="cd", hidden=(5,), modules=1, **more):
    return lab.start(
        binary(),
        model={"name": "rbm", "hidden": list(hidden)},
        scheme={"name": scheme, **more},
        parallel={"modules": modules},
        task="density",
        optimizer=FLAT,
    )


@pytest.mark.parametrize("scheme", ["cd", "pcd"])
def test_an_update_is_the_difference_of_correlations_in_data_and_samples(lab, scheme):
    group = start(lab, scheme, gibbs={"steps": 2})
    (learner,) = (module.learner for module in group.modules)
    (block,), v = learner.chain, group.modules[0].batches.x(0).double().flatten(1)
    W, b, c = (p.detach().clone() for p in (block.weight, block.visible_bias, block.bias))
    samples, draw = [], learner._sample
    learner._sample = lambda i, block, v: samples.append(draw(i, block, v)) or samples[-1]
    group_run(group, 0, 1)
    (w,) = samples
    assert set(w.unique().tolist()) == {0.0, 1.0}
    ph, pw = torch.sigmoid(v @ W.t() + c), torch.sigmoid(w @ W.t() + c)
    torch.testing.assert_close(block.weight.detach(), W + (ph.t() @ v - pw.t() @ w) / len(v), rtol=0, atol=1e-14)
    torch.testing.assert_close(block.visible_bias.detach(), b + (v - w).mean(0), rtol=0, atol=1e-14)
    torch.testing.assert_close(block.bias.detach(), c + (ph - pw).mean(0), rtol=0, atol=1e-14)


def group_run(group, start, stop):
    (stats,) = group.run([(start, stop)], group.modules[0].plan.total_steps if stop < 3 else stop)
    return stats


def test_samples_begin_at_the_data_or_go_on_from_the_last_minibatch(lab):
    for scheme, begins in (("cd", "data"), ("pcd", "before")):
        group = start(lab, scheme)
        learner, walks = group.modules[0].learner, []
        walk = learner._walk
        learner._walk = lambda block, v, walk=walk, walks=walks: walks.append([v, walk(block, v)]) or walks[-1][1]
        group_run(group, 0, 2)
        before = group.modules[0].batches.x(1).double().flatten(1) if begins == "data" else walks[0][1]
        assert torch.equal(walks[1][0], before)


@pytest.mark.parametrize("scheme", ["cd", "pcd"])
def test_the_cut_into_modules_changes_nothing(lab, scheme):
    one, two = start(lab, scheme, (5, 4)), start(lab, scheme, (5, 4), modules=2)
    for group in (one, two):
        group_run(group, 0, 4)
    lab.assert_equal(lab.weights(one), lab.weights(two))


@pytest.mark.parametrize("scheme", ["cd", "pcd"])
def test_a_run_goes_on_with_its_chains(lab, scheme):
    whole, first, again = (start(lab, scheme, (5, 4), modules=2) for _ in range(3))
    group_run(whole, 0, 5)
    group_run(first, 0, 3)
    again.load_states(first.states(3))
    group_run(again, 3, 5)
    lab.assert_equal(lab.weights(again), lab.weights(whole))


def test_a_probe_finds_nothing_to_compare_and_changes_nothing(lab):
    group = start(lab, "pcd", (5, 4), modules=2)
    before = lab.weights(group)
    assert group.probe() == {}
    lab.assert_equal(lab.weights(group), before)


def test_the_density_of_one_machine_is_exact(lab):
    group = start(lab)
    block = group.modules[0].learner.chain[0]
    with torch.no_grad():
        block.weight.add_(torch.randn(block.weight.shape, generator=torch.Generator().manual_seed(1)))
    x = group.data.test.x.double().flatten(1)
    found = Density().metrics(group.outputs("test"), group.data.test.y)
    expected = (-block.free_energy(x) - block.log_z()).mean().detach()
    assert found["log_likelihood"] == pytest.approx(float(expected), rel=1e-12)
    assert found["loss"] == -found["log_likelihood"]


@pytest.mark.parametrize("modules", [1, 2])
def test_of_several_machines_the_loss_is_how_well_the_last_gives_back_its_input(lab, modules):
    group = start(lab, hidden=(5, 4), modules=modules)
    found = Density().metrics(group.outputs("test"), group.data.test.y)
    assert set(found) == {"loss", "unit_error"}
    first, last = (block for module in group.modules for block in module.learner.chain)
    h = first(group.data.test.x.double())
    expected = (last.reconstruction(h) - h).square().mean().detach()
    assert found["loss"] == pytest.approx(float(expected), rel=1e-12)


def test_the_error_of_a_pixel_comes_down_from_the_top(lab):
    data, blocks = binary(), rbm((1, 2, 4), 2, hidden=[5, 4])
    x = data.test.x.flatten(1)
    expected = blocks[0].down(blocks[1].down(blocks[1](blocks[0](x)))).sub(x).square().mean().detach()
    assert Density().final_metrics(Chain(blocks), data, "test")["mse"] == pytest.approx(float(expected), rel=1e-6)


def plan_of(preset, overrides):
    config = load_config(preset, overrides)
    return make_plan(config, load_data(config))


@pytest.mark.parametrize(
    ("preset", "more", "why"),
    [
        ("boltzmann/rbm", ["scheme.name=backprop"], "backprop cannot train the boltzmann family: the gradient of its"),
        ("boltzmann/rbm", ["scheme.name=dfa"], "dfa cannot train the boltzmann family"),
        ("boltzmann/rbm", ["scheme.name=local"], "local cannot train the boltzmann family"),
        ("digits/backprop", ["scheme.name=cd"], "cd cannot train the mlp family: it samples from a block's own energy"),
        ("boltzmann/rbm", ["data.options.threshold=null"], "task: density does not fit digits: its inputs are not all"),
        ("boltzmann/rbm", ["task=classification"], "gives outputs of shape"),
        ("digits/backprop", ["task=density", "data.options.threshold=0.5"], "density needs Boltzmann machines"),
        ("boltzmann/rbm", ["scheme.gibbs.steps=0"], r"scheme\.gibbs\.steps: must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(preset, more, why):
    with pytest.raises(ConfigError, match=why):
        plan_of(preset, more)


@pytest.mark.parametrize(
    ("preset", "scheme", "metric", "bar"),
    [
        ("rbm", "cd", "log_likelihood", -20.0),
        ("rbm", "pcd", "log_likelihood", -20.7),
        ("machine", "cd", "log_likelihood", -20.0),
        ("dbm", "pcd", "log_likelihood_bound", -20.7),
    ],
)
def test_digits_become_likelier_than_of_independent_pixels(preset, scheme, metric, bar, seed_to_learn):
    """As `unlocked train boltzmann/PRESET` does."""
    config = load_config(f"boltzmann/{preset}", [f"scheme.name={scheme}", f"seed={seed_to_learn}"])
    data = load_data(config)
    plan = make_plan(config, data)
    group = InProcessGroup(plan, data)
    list(group.run([(0, plan.total_steps)], plan.total_steps))
    task, (block,) = plan.make_task(), group.modules[0].learner.chain
    found = task.metrics(group.outputs("test"), data.test.y) | task.final_metrics(Chain([block]), data, "test")
    x, t = data.train.x.flatten(1), data.test.x.flatten(1)
    p = (x.sum(0) + 1) / (len(x) + 2)
    independent = float((t * p.log() + (1 - t) * (1 - p).log()).sum(1).mean())
    assert independent == pytest.approx(-24.58, abs=0.01)
    assert found[metric] >= bar


def test_a_run_shows_its_samples_and_weights_and_dreams_on_request(tmp_path):
    config = load_config(
        "boltzmann/rbm",
        ["train.epochs=1", "model.hidden=[8,4]", f"tracking.runs={tmp_path}", "tracking.uri=off"],
    )
    run = Path(train(config)["run_dir"])
    assert {"samples.png", "weights.png"} <= {path.name for path in (run / "figures").iterdir()}
    made = generate(run, rows=1, steps=3)
    assert [path.name for path in made] == ["samples.png", "weights.png"]
    with pytest.raises(ConfigError, match="steps: must be from 1 to 100000, got 0"):
        generate(run, steps=0)
