"""Adversarial training against its equations, beside a plain loop in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.schema.keys import AdversaryConfig
from unlocked.schemes.adversary import Adversary
from unlocked.seeding import derive_seed, step_seed

MLP = {"name": "mlp", "hidden": [6, 5]}
SGD = {"name": "sgd", "lr": 0.1, "momentum": None}


def by_hand(network, x, y, t, seed, low, high, attack, epsilon=0.1, steps=7, step=None):
    """Goodfellow et al. 2015, section 4; Madry et al. 2018, section 2.1."""
    reach = epsilon * (high - low)

    def uphill(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(network(x), y), x)[0].sign()

    def project(now):
        return torch.clamp(torch.clamp(now, x - reach, x + reach), low, high)

    if attack == "fgsm":
        return project(x + reach * uphill(x))
    generator = torch.Generator().manual_seed(step_seed(derive_seed(seed, "adversary"), t))
    now = project(x + reach * (2 * torch.rand(x.shape, generator=generator).double() - 1))
    for _ in range(steps):
        now = project(now + (step or 2.5 / steps) * reach * uphill(now))
    return now


@pytest.mark.parametrize(
    "options",
    [{"attack": "fgsm"}, {"attack": "fgsm", "clean": 0.5}, {"attack": "pgd", "steps": 3, "step": 0.5, "clean": 0.2}],
)
def test_a_net_learns_from_the_examples_that_the_equations_make(lab, options):
    data = lab.data()
    tree = {"model": MLP, "optimizer": SGD, "train": {"adversary": options}}
    plan, group = lab.plan(data, **tree), lab.start(data, **tree)
    found = lab.train(group, 0, 5)
    network, batches = lab.network(plan), lab.batches(plan, data)
    optimizer, clean = torch.optim.SGD(network.parameters(), lr=0.1), options.get("clean", 0.0)
    low, high = data.train.x.double().amin((0, 2, 3), keepdim=True), data.train.x.double().amax((0, 2, 3), keepdim=True)
    attack, expected = {name: value for name, value in options.items() if name != "clean"}, []
    for t in range(5):
        x, y = batches.x(t).double(), batches.y(t)
        worst = by_hand(network, x, y, t, plan.config.seed, low, high, **attack)
        loss = (1 - clean) * F.cross_entropy(network(worst), y) + clean * F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert found == pytest.approx(expected, abs=1e-10)
    lab.assert_close(lab.weights(group), network.state_dict(), 1e-10)


def test_examples_stay_within_reach_and_range_and_raise_the_loss():
    torch.manual_seed(0)
    network, x, y = nn.Linear(6, 3).double(), torch.rand(40, 6).double(), torch.randint(3, (40,))

    def loss(x):
        return F.cross_entropy(network(x), y)

    worst = Adversary(AdversaryConfig("pgd", epsilon=0.2), 0, x).examples(0, x, loss)
    reach = 0.2 * (x.amax(0) - x.amin(0))
    assert ((worst - x).abs() <= reach + 1e-12).all()
    assert (worst >= x.amin(0)).all()
    assert (worst <= x.amax(0)).all()
    assert loss(worst) > loss(x)


def test_replicas_begin_where_the_whole_minibatch_begins():
    x = torch.rand(8, 3).double()

    def made(rows, shard):
        return Adversary(AdversaryConfig("pgd", steps=2), 0, x, shard).examples(4, rows, lambda x: x.pow(3).sum())

    whole = made(x, (0, 1))
    for r in range(2):
        assert torch.equal(made(x[r::2], (r, 2)), whole[r::2])


def test_the_attack_sees_the_draws_and_moves_no_statistics(lab, monkeypatch):
    """With batch norm and dropout: one pass of the net that learns, however many the attack takes."""
    model = {"name": "mlp", "hidden": [6], "norm": "batch", "dropout": 0.4}
    seen = []
    kept = Adversary.examples

    def watched(self, t, x, loss):
        seen.append((loss(x).item(), loss(x).item()))
        return kept(self, t, x, loss) * 0 + x

    monkeypatch.setattr(Adversary, "examples", watched)
    plain, attacked = (
        lab.start(model=model, train={"adversary": {"attack": attack, "steps": 2}}) for attack in ("none", "pgd")
    )
    losses = lab.train(plain, 0, 4)
    assert lab.train(attacked, 0, 4) == losses
    assert seen == [(loss, loss) for loss in losses]
    lab.assert_equal(lab.weights(attacked), lab.weights(plain))


@pytest.mark.parametrize(
    ("preset", "overrides", "words"),
    [
        ("quickstart", ["scheme.name=dfa"], "under dfa no module has it, and what is sent down in its place"),
        ("quickstart", ["scheme.name=backprop"], "parallel.modules must be 1, got 2; what backprop learns is the same"),
        (
            "quickstart",
            ["scheme.name=backprop", "parallel.modules=1", "parallel.partition=null", "parallel.engine=deepspeed"],
            "needs whole weights at any time; parallel.engine=inprocess has them",
        ),
        ("adversarial/gan", ["scheme.name=backprop"], "the nets of gan learn by several losses"),
        ("quickstart", ["scheme.name=backprop", "train.adversary.epsilon=2"], "must be at most 1, got 2"),
    ],
)
def test_a_configuration_without_one_slope_of_the_whole_net_is_refused(preset, overrides, words):
    if "parallel.engine=deepspeed" in overrides:
        pytest.importorskip("deepspeed")
    with pytest.raises(ConfigError, match=r"^train.adversary.\w+: ") as caught:
        load_config(preset, ["train.adversary.attack=pgd", *overrides])
    assert words in str(caught.value)


def test_ids_have_no_neighbours():
    from unlocked.plan.make import make_plan
    from unlocked.plan.plan import load_data

    config = load_config(
        "recurrent/copy", ["train.adversary.attack=fgsm", "scheme.name=backprop", "parallel.modules=1"]
    )
    with pytest.raises(ConfigError, match=r"^train.adversary.attack: fgsm moves inputs a little"):
        make_plan(config, load_data(config))
