"""Translation between two domains: its terms by hand, who moves by them, and what it measures and draws."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from unlocked.data.dataset import Split
from unlocked.engine.phases import NetsGroup
from unlocked.errors import ConfigError
from unlocked.tasks.cycle import CLASSES, OTHER, Cycle, as_fed
from unlocked_models import Batch, Chain

TREE = {
    "model": {"name": "cyclegan", "channels": 4, "residual": 1, "tells": 4, "noise": 0.0},
    "task": "cycle",
    "data": {"batch_size": 6},
    "parallel": {"modules": 2, "engine": "auto"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": None},
}
SHAPES = dict.fromkeys(Cycle.nets, (1, 4, 4))


@pytest.fixture
def two(lab):
    """Noise in two domains."""
    data = lab.data((1, 4, 4), n=24)

    def with_other(split: Split, seed: int) -> Split:
        draw = torch.Generator().manual_seed(seed)
        n = len(split)
        return Split(
            split.x.sigmoid(),
            split.y,
            {OTHER: torch.rand(n, 1, 4, 4, generator=draw), CLASSES: torch.randint(5, (n,), generator=draw)},
        )

    return replace(data, train=with_other(data.train, 0), test=with_other(data.test, 1))


def start(lab, data, **tree) -> NetsGroup:
    return NetsGroup(lab.plan(data, **{**TREE, **tree}), data)


def chains(group) -> dict[str, Chain]:
    return {
        net: Chain(copy.deepcopy(torch.nn.ModuleList(b for learner in passed._learners for b in learner.chain))).train()
        for net, passed in group.nets.items()
    }


def weights(group) -> dict[str, torch.Tensor]:
    return {name: x for state in group.states(0) for name, x in state["weights"].items()}


def test_the_cycle_s_loss_is_the_mean_distance_from_what_was_fed():
    x, out = torch.tensor([[0.0, 1.0], [0.5, 0.0]]), torch.tensor([[0.5, 1.0], [0.0, 1.0]])
    assert float(as_fed(10.0)(out, Batch(x, torch.zeros(2)))) == pytest.approx(10 * (0.5 + 0 + 0.5 + 1) / 4)


def test_a_step_is_that_of_the_loop_anybody_would_write(lab, two):
    """All terms add before the translators move, each through the others as they were; then each discriminator."""
    group = start(lab, two)
    nets, before = chains(group), weights(group)
    G, back, tells_a, tells_b = (nets[name] for name in Cycle.nets)
    batch = group.feeds.minibatch(0)
    a, b = batch.x, batch[OTHER]

    def least_squares(said, real):
        return (said - real).square().mean()

    total = least_squares(tells_b(G(a)), 1) + least_squares(tells_a(back(b)), 1)
    total = total + 5 * (F.l1_loss(G(b), b) + F.l1_loss(back(a), a))
    total = total + 10 * (F.l1_loss(back(G(a)), a) + F.l1_loss(G(back(b)), b))
    translators = {f"{net}.{name}": p for net in ("to_b", "to_a") for name, p in nets[net].named_parameters()}
    for p, gradient in zip(translators.values(), torch.autograd.grad(total, [*translators.values()]), strict=True):
        p.data -= 0.05 * gradient
    for net, real, made in (("tells_a", a, back(b)), ("tells_b", b, G(a))):
        own = [*nets[net].parameters()]
        loss = least_squares(nets[net](real), 1) + least_squares(nets[net](made.detach()), 0)
        for p, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            p.data -= 0.05 * gradient
    (stats,) = group.run([(0, 1)], 1)
    expected = {f"{net}.{name}": p.detach() for net, chain in nets.items() for name, p in chain.named_parameters()}
    lab.assert_close({key: x for key, x in weights(group).items() if key in expected}, expected, 1e-12)
    assert {key.partition(".")[0] for key in lab.differ(before, weights(group))} == set(Cycle.nets)
    assert len(stats) == group.plan.modules == 8


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa", "frozen"])
def test_four_nets_train_under_every_scheme_at_a_lag_too(lab, two, scheme):
    lag = {} if scheme == "frozen" else {"lag": 1}
    group = start(lab, two, scheme={"name": scheme, **lag})
    (stats,) = group.run([(0, 4)], 4)
    assert all(torch.isfinite(torch.tensor(values)).all() for s in stats for values in s.series.values())


@pytest.mark.parametrize(
    ("options", "gone"),
    [({"identity": 0.0}, "same"), ({"cycle": 0.0}, "cycle"), ({"cycle": 0.0, "identity": 0.0}, "c")],
)
def test_a_term_of_weight_0_is_left_out(lab, two, options, gone):
    names = [phase.name for phase in Cycle(**options).phases(SHAPES)]
    assert not [name for name in names if name.startswith(gone)]
    assert len(names) == 6 + 2 * sum(value > 0 for value in {"cycle": 1.0, "identity": 1.0, **options}.values())
    (stats,) = start(lab, two, objective=options).run([(0, 2)], 2)
    assert stats


def test_a_negative_weight_is_one_line():
    with pytest.raises(ConfigError, match=r"^objective\.cycle: must be at least 0, got -1$"):
        Cycle(cycle=-1)


def test_it_needs_images_of_a_second_domain(lab, two):
    assert Cycle.misfit("classification", two.example) is None
    said = Cycle.misfit("classification", lab.data((1, 4, 4)).example)
    assert said == "it translates x to images of another domain, the extra 'other', of the same shape (1, 4, 4)"


def test_images_that_are_of_the_other_domain_are_near_it(two, monkeypatch):
    monkeypatch.setattr("unlocked.tasks.judge.STEPS", 30)  # of random labels it can learn nothing anyway
    told = Cycle().measure(two.test.extras[OTHER], two, "test")
    assert told["frechet"] == pytest.approx(0, abs=1e-6)
    assert told["kept"] <= 1
    assert told["frechet"] < Cycle().measure(two.test.x, two, "test")["frechet"]


def test_translations_are_drawn_under_what_was_given(lab, two, tmp_path):
    group = start(lab, two)
    (drawn,) = Cycle().figures(two, group.outputs("test"), None, tmp_path)
    assert drawn.name == "translations.png"
    assert drawn.stat().st_size > 1000
