"""Every Boltzmann machine under cd and pcd: its update, its cut, its likelihood, what a deep belief net becomes."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from unlocked import load_config
from unlocked.data import DataSet, Split
from unlocked.errors import ConfigError
from unlocked.generate import generate
from unlocked.loop.train import train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.density import Density
from unlocked_models.boltzmann import rbm
from unlocked_models.boltzmann.restricted import GaussianRBM
from unlocked_models.contract.chain import Chain

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient


def binary(n=48, shape=(1, 2, 3), real=False):
    generator = torch.Generator().manual_seed(0)

    def split() -> Split:
        x = torch.rand(n, *shape, generator=generator)
        return Split(x if real else (x > 0.5).float(), torch.randint(0, 2, (n,), generator=generator))

    return DataSet("made", "classification", shape, 2, ["0", "1"], split(), None, split())


MACHINES = {
    "all": ({"name": "boltzmann", "hidden": 2}, "density"),
    "visible": ({"name": "boltzmann", "hidden": 0}, "density"),
    "deep": ({"name": "dbm", "hidden": [4, 3]}, "density"),
    "gaussian": ({"name": "rbm", "hidden": [3], "visible": "gaussian", "deviation": 0.4}, "real_density"),
    "belief": ({"name": "dbn", "hidden": [5, 4]}, "labelled_density"),
}


def start(lab, kind, scheme="cd", modules=1, **more):
    model, task = MACHINES[kind]
    return lab.start(
        binary(real=kind == "gaussian"),
        model=model,
        scheme={"name": scheme, **more},
        parallel={"modules": modules},
        task=task,
        optimizer=FLAT,
    )


def run(group, start, stop):
    (stats,) = group.run([(start, stop)], stop)
    return stats


@pytest.mark.parametrize("scheme", ["cd", "pcd"])
@pytest.mark.parametrize("kind", MACHINES)
def test_an_update_is_the_difference_of_two_gradients_in_data_and_in_samples(lab, kind, scheme):
    """By a loop over the examples, one autograd call for each."""
    group = start(lab, kind, scheme)
    learner = group.modules[0].learner
    top, seen = learner.chain[-1], []
    sample, data_energy = learner._sample, top.data_energy
    learner._sample = lambda i, block, v: seen.append(sample(i, block, v)) or seen[-1]
    top.data_energy = lambda v, generator: seen.append(data_energy(v, generator)) or seen[-1]
    weights, before = list(top.parameters()), [p.detach().clone() for p in top.parameters()]
    expected = [torch.zeros_like(p) for p in weights]

    def update():
        samples, of_data = seen[-2], seen[-1]
        for sign, energies in ((1, of_data), (-1, top.energy(samples))):
            for energy in energies:
                for total, g in zip(expected, torch.autograd.grad(energy, weights, retain_graph=True), strict=True):
                    total += sign * g / len(energies)
        type(learner).update(learner)

    learner.update = update
    backward = torch.Tensor.backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", lambda loss: backward(loss, retain_graph=True))
        run(group, 0, 1)
    for now, was, gradient in zip(weights, before, expected, strict=True):
        torch.testing.assert_close(now.detach(), was - gradient, rtol=0, atol=1e-12)


def test_the_cut_of_a_belief_net_changes_nothing_and_its_labels_come_with_the_minibatch(lab):
    one, two = start(lab, "belief", "pcd"), start(lab, "belief", "pcd", modules=2)
    for group in (one, two):
        run(group, 0, 4)
    lab.assert_equal(lab.weights(one), lab.weights(two))


@pytest.mark.parametrize("kind", MACHINES)
def test_a_run_goes_on_with_its_chains(lab, kind):
    whole, first, again = (start(lab, kind, "pcd") for _ in range(3))
    run(whole, 0, 5)
    run(first, 0, 3)
    again.load_states(first.states(3))
    run(again, 3, 5)
    lab.assert_equal(lab.weights(again), lab.weights(whole))


def test_the_density_of_each_kind_is_exact_or_a_bound(lab):
    for kind in ("all", "visible", "deep", "gaussian"):
        group = start(lab, kind)
        block, task = group.modules[0].learner.chain[0], group.modules[0].learner.task
        with torch.no_grad():
            for p in block.parameters():
                p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
            x = group.data.test.x.double()
            expected = float((-block.free_energy(block.visible(x)) - block.log_z()).mean())
        found = task.metrics(group.outputs("test"), group.data.test.y)
        name = "log_likelihood_bound" if kind == "deep" else "log_likelihood"
        assert found[name] == pytest.approx(expected, rel=1e-12)
        assert found["loss"] == -found[name]
        assert "log_z" not in task.final_metrics(Chain([block]), group.data, "test")


def likelihood_of_a_stack(first, top):
    """log p(v) of every v, by the sum over all states of the units between them."""
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * len(first.bias))
    v = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * len(first.visible_bias))
    log_h = -top.free_energy(states) - top.log_z()
    rows = [first.log_down(row.expand(len(states), -1), states) + log_h for row in v]
    return v, torch.stack(rows).logsumexp(1)


def test_the_bound_of_a_stack_is_below_its_likelihood_and_not_far():
    torch.manual_seed(0)
    first, top = (block.double() for block in rbm((4,), 2, hidden=[3, 2]))
    with torch.no_grad():
        for p in (*first.parameters(), *top.parameters()):
            p.normal_(std=0.5)
        v, exact = likelihood_of_a_stack(first, top)
        assert float(exact.exp().sum()) == pytest.approx(1)
        split = Split(v, torch.zeros(16, dtype=torch.long))
        data = DataSet("made", "classification", (4,), 2, ["0", "1"], split, None, split)
        found = Density().final_metrics(Chain([first, top]), data, "test")
    assert found["log_z_error"] == 0  # two units: summed
    assert exact.mean() - 0.3 < found["log_likelihood_bound"] < exact.mean() + 0.02


def test_what_cannot_be_summed_is_estimated_with_its_error(lab):
    group = lab.start(
        binary(shape=(1, 5, 5)), model={"name": "rbm", "hidden": [22]}, task="density", scheme={"name": "cd"}
    )
    (block,), data = group.modules[0].learner.chain, group.data
    task = Density(chains=50, steps=100)
    assert set(task.metrics(group.outputs("test"), data.test.y)) == {"loss", "unit_error"}
    found = task.final_metrics(Chain([block]), data, "test")
    free = block.free_energy(data.test.x.double().flatten(1)).mean().detach()
    assert found["log_likelihood"] == pytest.approx(float(-free) - found["log_z"])
    assert 0 < found["log_z_error"] < 0.1
    assert found["log_z"] == pytest.approx(47 * 0.693, abs=1.0)  # weights are small yet


def test_a_belief_net_is_an_ordinary_chain_whose_gradient_is_autograd_s(lab):
    group = lab.start(
        binary(), model=MACHINES["belief"][0], scheme={"name": "backprop"}, parallel={"modules": 2}, optimizer=FLAT
    )
    chain = Chain([block for module in group.modules for block in module.learner.chain])
    runner = group.modules[0]
    x, y = runner.batches.x(0).double(), runner.batches.y(0)
    loss = F.cross_entropy(chain(x), y)
    names = [name for name, _ in chain.named_parameters()]
    true = torch.autograd.grad(loss, list(chain.parameters()), allow_unused=True)
    before = {name: p.detach().clone() for name, p in chain.named_parameters()}
    run(group, 0, 1)
    for name, p, gradient in zip(names, chain.parameters(), true, strict=True):
        expected = before[name] if gradient is None else before[name] - gradient
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-12)
    assert [name for name, gradient in zip(names, true, strict=True) if gradient is None] == ["0.visible_bias"]


def plan_of(preset, overrides):
    config = load_config(preset, overrides)
    return make_plan(config, load_data(config))


@pytest.mark.parametrize(
    ("preset", "more", "why"),
    [
        ("boltzmann/dbm", ["scheme.name=backprop"], "backprop cannot train the boltzmann family: the gradient of its"),
        ("boltzmann/machine", ["scheme.name=cdni"], "cdni cannot train the boltzmann family"),
        ("boltzmann/rbm", ["scheme.name=denoise"], "denoise cannot train the boltzmann family"),
        ("boltzmann/rbm", ["train.precision=bf16"], r"train\.precision: bf16 rounds free energies"),
        (
            "boltzmann/dbn",
            ["train.precision=bf16"],
            r"train\.precision: bf16 rounds free energies",
        ),  # pre-trained by cd
        ("boltzmann/dbn", ["task=density", "data.options.threshold=0.5"], "its task is labelled_density"),
        (
            "boltzmann/gaussian",
            ["model.visible=binary", "model.deviation=1.0"],
            r"has binary visible units \(model\.visible\); its task is density",
        ),
        ("boltzmann/rbm", ["model.visible=gaussian"], "its task is real_density"),
        ("boltzmann/rbm", ["task=labelled_density", "model.hidden=[10]"], "needs model.name=dbn"),
        ("boltzmann/dbn_samples", ["data.options.threshold=null"], "its inputs are not all 0 or 1"),
        ("boltzmann/rbm", ["objective.chains=1"], r"objective\.chains: must be from 2 to 1000000, got 1"),
        ("boltzmann/dbm", ["parallel.modules=2"], r"parallel\.modules: 2 is more than the 1 blocks of dbm"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(preset, more, why):
    with pytest.raises(ConfigError, match=why):
        plan_of(preset, more)


def test_a_belief_net_trains_draws_its_classes_and_fine_tunes(tmp_path):
    short = [
        "train.epochs=1",
        "pretrain.epochs=1",
        "model.hidden=[8,6]",
        f"tracking.runs={tmp_path}",
        "tracking.uri=off",
    ]
    run_dir = Path(train(load_config("boltzmann/dbn_samples", [*short, "parallel.modules=2"]))["run_dir"])
    assert {"classes.png", "weights.png", "confusion_matrix.png"} <= {
        path.name for path in (run_dir / "figures").iterdir()
    }
    assert [path.name for path in generate(run_dir, columns=2, steps=3)] == ["classes.png"]
    with pytest.raises(ConfigError, match="columns: must be from 1 to 100000, got 0"):
        generate(run_dir, columns=0)
    tuned = train(load_config("boltzmann/dbn", [*short, "scheme.name=cdni", "train.probe_every=0"]))
    assert "test/accuracy" in tuned["metrics"]


def test_samples_of_real_units_are_in_the_scale_of_the_data():
    block = GaussianRBM(3, 2, deviation=0.5)
    with torch.no_grad():
        block.visible_bias.fill_(2.0)
    x = torch.full((4, 3), 1.0)
    assert torch.allclose(block.visible(x), torch.full((4, 3), 2.0))
    assert float((block.shown(block.reconstruction(block.visible(x))) - x).detach().abs().max()) < 0.1
