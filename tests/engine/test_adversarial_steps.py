"""Steps of a GAN that have more than two losses: penalties of a slope, replayed images, rare generators."""

from __future__ import annotations

import copy

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.phases import NetsGroup
from unlocked.engine.replay import Replayed
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.gan_losses import slope_penalty
from unlocked.tasks.phases import Phase, Replay, as_it_is, fault
from unlocked_models import Batch, Chain

TINY = {"name": "gan", "latent": 4, "generator": [12, 10], "discriminator": [9, 8], "dropout": 0.0, "noise": 0.0}
GAN = {
    "model": {**TINY, "norm": "none"},
    "task": "adversarial",
    "data": {"batch_size": 6},
    "parallel": {"modules": 3},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": None},
}
CRITIC = {"objective": {"loss": "wasserstein"}, "nets": {"discriminator": {"parallel": {"modules": 1}}}}


def start(lab, data=None, **tree) -> NetsGroup:
    data = data or lab.data(n=30)
    return NetsGroup(lab.plan(data, **{**GAN, **tree}), data)


def train(group, start, stop):
    (stats,) = group.run([(start, stop)], stop)
    return {name: values for s in stats for name, values in s.series.items()}


def weights(group) -> dict[str, torch.Tensor]:
    return {name: x for state in group.states(0) for name, x in state["weights"].items()}


def chains(group) -> list[Chain]:
    """Copies of the generator and the discriminator."""
    blocks = [[block for learner in net._learners for block in learner.chain] for net in group.nets.values()]
    return [Chain(copy.deepcopy(each)).train() for each in blocks]


def fed(group, phase, t):
    i = [each.name for each in group.phases].index(phase)
    return group.feeds.of_phase(i, t, group.feeds.minibatch(t))


def test_the_penalty_is_that_of_the_equation():
    """Of D(x) = w x, whose slope is w everywhere; and of D(x) = |x|^2 / 2, whose slope is x, by hand."""
    real, made = torch.randn(5, 1, 2, 2).double(), torch.randn(5, 1, 2, 2).double()
    share = torch.rand(5, 1, 1, 1).double()
    batch = Batch(made, torch.zeros(5, dtype=torch.long), extras={"real": real, "share": share})
    w = torch.randn(4).double().requires_grad_()
    found = slope_penalty(10.0)(lambda x: x.flatten(1) @ w[:, None], made, batch)
    torch.testing.assert_close(found, 10 * (w.norm() - 1).square())
    (slope,) = torch.autograd.grad(found, w)
    torch.testing.assert_close(slope, (20 * (w.norm() - 1) * w / w.norm()).detach())
    between = share * real + (1 - share) * made
    found = slope_penalty(3.0)(lambda x: x.flatten(1).square().sum(1) / 2, made, batch)
    torch.testing.assert_close(found, 3 * (between.flatten(1).norm(dim=1) - 1).square().mean())


def test_a_step_of_wasserstein_is_that_of_the_loop_anybody_would_write(lab):
    group = start(lab, **CRITIC)
    G, D = chains(group)
    of_G, of_D = (torch.optim.SGD(net.parameters(), lr=0.05) for net in (G, D))
    expected = []
    for t in range(3):
        real, between, wrong, asked = (fed(group, phase, t) for phase in ("real", "penalty", "fake", "generator"))
        with torch.no_grad():
            made, far = G(wrong.x, wrong), G(between.x, between)
        x = (between["share"] * real.x + (1 - between["share"]) * far).requires_grad_()
        (slope,) = torch.autograd.grad(D(x, between).sum(), x, create_graph=True)
        penalty = 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        losses = -D(real.x, real).mean(), penalty, D(made, wrong).mean()
        of_D.zero_grad()
        sum(losses).backward()
        of_D.step()
        fools = -D(G(asked.x, asked), asked).mean()
        of_G.zero_grad()
        fools.backward()
        of_G.step()
        expected.append([x.item() for x in (*losses, fools)])
    series = train(group, 0, 3)
    names = [f"loss@{name}" for name in ("real", "penalty", "fake", "generator")]
    assert [list(each) for each in zip(*(series[name] for name in names), strict=True)] == [
        pytest.approx(each, abs=1e-10) for each in expected
    ]
    plain = {
        f"{net}.{name}": x
        for net, chain in zip(("generator", "discriminator"), (G, D), strict=True)
        for name, x in chain.state_dict().items()
    }
    lab.assert_close(weights(group), plain, 1e-10)


def test_the_minimax_generator_lowers_what_the_discriminator_says_of_made_images(lab):
    group = start(lab, objective={"loss": "minimax"})
    G, D = chains(group)
    asked = fed(group, "generator", 0)
    before, series = weights(group), train(group, 0, 1)
    moved = {name.removeprefix("discriminator."): x for name, x in weights(group).items() if name.startswith("disc")}
    D.load_state_dict(moved)
    loss = torch.log(1 - torch.sigmoid(D(G(asked.x, asked), asked))).mean()
    assert series["loss@generator"] == [pytest.approx(loss.item(), abs=1e-12)]
    for name, slope in zip(dict(G.named_parameters()), torch.autograd.grad(loss, [*G.parameters()]), strict=True):
        found = (before[f"generator.{name}"] - weights(group)[f"generator.{name}"]) / 0.05
        torch.testing.assert_close(found, slope, rtol=0, atol=1e-11)


def test_a_generator_that_learns_in_one_of_k_steps_stays_as_it_is_in_the_others(lab):
    group = start(lab, objective={"steps": 3})
    moved = []
    for t in range(6):
        before = weights(group)
        series = train(group, t, t + 1)
        after = weights(group)
        nets = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
        assert ("loss@generator" in series) == ("generator" in nets)
        assert "discriminator" in nets
        moved.append("generator" in nets)
    assert moved == [False, False, True, False, False, True]


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_a_run_with_replay_that_goes_on_from_a_checkpoint_equals_an_unbroken_one(lab, scheme):
    data = lab.data(n=30)
    tree = {"scheme": {"name": scheme}, "objective": {"replay": 9, "steps": 2}}
    unbroken, broken, resumed = (start(lab, data, **tree) for _ in range(3))
    train(unbroken, 0, 7)
    train(broken, 0, 3)
    train(resumed, 0, 1)  # whatever it has kept is replaced
    resumed.load_states(broken.states(3))
    train(resumed, 3, 7)
    lab.assert_equal(weights(unbroken), weights(resumed))
    kept, own = (group.groups["discriminator"]["fake"].modules[0].replayed for group in (unbroken, resumed))
    assert torch.equal(kept.h, own.h)
    assert len(own.h) == 9
    before = own.h.clone()
    resumed.probe()
    assert torch.equal(before, own.h)  # a probe keeps nothing


def test_what_is_replayed_keeps_its_class():
    """Outputs that say their step and class; every module of the net agrees on the classes."""
    first, other = (Replayed(Replay(10), 0, "fake") for _ in range(2))
    seen = set()
    for t in range(20):
        y = torch.randint(3, (8,), generator=torch.Generator().manual_seed(t))
        h = torch.stack([torch.full((8,), float(t)), y.double()], 1)
        mixed, batch = first.mix(t, h, Batch(h, y), holds_outputs=True)
        _, same = other.mix(t, torch.empty(0), Batch(h, y), holds_outputs=False)
        assert torch.equal(batch.y, same.y)
        assert torch.equal(mixed[:, 1], batch.y.double())
        assert int((mixed[:, 0] < t).sum()) == (4 if t else 0)
        assert len(first.h) == len(other.y) == min(10, 8 * (t + 1))
        seen |= set(mixed[:, 0].tolist())
    assert other.h is None
    assert seen == set(map(float, range(20)))


def test_only_the_discriminator_sees_what_is_replayed(lab):
    group = start(lab, objective={"replay": 6})
    train(group, 0, 2)
    learned = group.groups["discriminator"]["fake"].modules[0].fed[0]
    i = [phase.name for phase in group.phases].index("fake")
    made = group._lessons[i][0].reached(1 * len(group.phases) + i, fed(group, "fake", 1))
    assert learned.shape == made.shape
    assert group.groups["generator"]["generator"].modules[0].replayed is None


# what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            {"objective": {"loss": "wasserstein"}},
            "parallel.modules: the loss of phase 'penalty' is of the gradient of discriminator at its input, a product "
            "of the Jacobians of all its layers whose derivative no module can take alone; set "
            "nets.discriminator.parallel.modules=1",
        ),
        (
            {**CRITIC, "scheme": {"name": "dfa"}},
            "scheme.name: dfa cannot train discriminator: the loss of phase 'penalty' is of the gradient of "
            "discriminator at its input, a product of the Jacobians of all its layers, and dfa computes no product",
        ),
        ({"objective": {"steps": 2}, "scheme": {"name": "dfa", "lag": 2}}, "scheme.lag: phase 'generator' runs in one"),
        ({"objective": {"replay": 31}}, "task: adversarial does not fit made: objective.replay keeps 31 made images, "),
        (
            {"objective": {"replay": 5}, "parallel": {"replicas": 2, "engine": "ray"}},
            "parallel.replicas: each would replay outputs",
        ),
    ],
)
def test_what_cannot_be_is_one_line(lab, tree, said):
    with pytest.raises(ConfigError) as error:
        make_plan(lab.config(**{**GAN, **tree}), lab.data(n=30))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_the_preset_of_wasserstein_leaves_its_penalty_to_backprop_under_dfa():
    config = load_config("adversarial/wgan", ["scheme.name=dfa"])
    make_plan(config, load_data(config))  # not refused
    assert config.nets["discriminator"]["scheme"]["name"] == "backprop"


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"steps": 0}, "objective.steps: must be at least 1, got 0; the discriminator has to learn"),
        ({"replay": -1}, "objective.replay: must be at least 0, got -1"),
        ({"loss": "wasserstien"}, "objective.loss: unknown loss 'wasserstien'; did you mean 'wasserstein'?"),
        ({"loss": "wasserstein", "smoothing": 0.1}, "objective.smoothing: wasserstein has no labels to smooth"),
        ({"penalty": 1.0}, "objective.penalty: it keeps the slope of wasserstein's discriminator"),
    ],
)
def test_options_that_cannot_be_are_one_line(lab, objective, said):
    with pytest.raises(ConfigError) as error:
        lab.config(**GAN, objective=objective)
    assert str(error.value).startswith(said)


def test_images_of_one_class_have_no_judge(lab):
    data = lab.data(n=30)
    with pytest.raises(ConfigError, match=r"task: adversarial does not fit .*: its examples are of one class"):
        make_plan(lab.config(**GAN), type(data)(**{**vars(data), "n_outputs": 1, "class_names": ["a"]}))


def test_images_that_are_all_alike_are_refused(lab):
    data = lab.data(n=30)
    data.train.x[:] = data.train.x[:1].clone()
    with pytest.raises(ConfigError, match=r"task: adversarial does not fit .*: its training examples are all alike"):
        make_plan(lab.config(**GAN), data)


def test_a_run_that_ends_before_the_generator_learns_is_refused(lab):
    with pytest.raises(ConfigError, match=r"train.epochs: phase 'generator' .* runs in one of 1000 steps, and the run"):
        lab.plan(**{**GAN, "objective": {"steps": 1000}})


def test_phases_that_replay_or_wait_in_vain_are_named():
    def phase(name="p", path=("G", "D"), learns=("D",), **options):
        return Phase(name, path, as_it_is, lambda out, batch: out.mean(), learns, **options)

    learns_g = phase("g", learns=("G",))
    assert fault([phase(replay=Replay(3)), learns_g], ("G", "D")) is None
    assert fault([phase(learns=("G",), replay=Replay(3))], ("G", "D")) == (
        "phase 'p' has a replay or a loss of a net: the last net of its path learns, alone"
    )
    assert fault([phase(path=("D",), replay=Replay(3))], ("G", "D")) == (
        "phase 'p' replays outputs of the nets before the one that learns, and there is none"
    )
    assert fault([phase(update=False), phase("q", every=2), learns_g], ("G", "D")) == (
        "the gradients of 'D' in phase 'p' wait for phase 'q', which runs in other steps"
    )
