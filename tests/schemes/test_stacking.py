"""Deep stacking networks: the closed form, the gradient through it, cuts, pre-training, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

from unlocked import load_config, train
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked_models import build
from unlocked_models.contract.chain import Chain
from unlocked_models.stacked import ridge

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient
PENALTY = 0.05


def start(lab, modules=1, optimizer=FLAT, **more):
    return lab.start(
        lab.data((1, 3, 3), n=40),
        model={"name": "stacked", "hidden": [6, 5]},
        scheme={"name": "stacking", "stacking": {"penalty": PENALTY}},
        parallel={"modules": modules},
        optimizer=optimizer,
        **more,
    )


def run(group, start, stop):
    (stats,) = group.run([(start, stop)], stop)
    return stats


def test_the_closed_form_is_least_squares():
    torch.manual_seed(0)
    h, t = torch.randn(30, 5).double(), torch.randn(30, 3).double()
    U, bias = ridge(h, t, 0.0)
    ones = torch.cat([h, torch.ones(30, 1).double()], 1)
    torch.testing.assert_close(torch.cat([U, bias[None]]), torch.linalg.lstsq(ones, t).solution)
    U, bias = ridge(h, t, 0.3)  # a penalty is rows more, whose targets are 0
    rows = torch.cat([ones, torch.eye(6).double()[:5] * (0.3 * 30) ** 0.5])
    expected = torch.linalg.lstsq(rows, torch.cat([t, torch.zeros(5, 3).double()])).solution
    torch.testing.assert_close(torch.cat([U, bias[None]]), expected)


def test_more_units_than_examples_are_fitted_too():
    torch.manual_seed(0)
    U, bias = ridge(torch.randn(4, 9), torch.randn(4, 2), 1e-3)
    assert U.isfinite().all()
    assert bias.isfinite().all()


def lowest(block, z, targets):
    """E(W), solved with its graph."""
    h = block.lower(z)
    centred, t = h - h.mean(0), targets - targets.mean(0)
    U = torch.linalg.solve(centred.T @ centred / len(h) + PENALTY * torch.eye(h.shape[1]).to(h), centred.T @ t / len(h))
    return (centred @ U - t).square().sum(1).mean() + PENALTY * U.square().sum()


def test_lower_weights_follow_the_gradient_through_the_closed_form(lab):
    group = start(lab)
    learner, batches = group.modules[0].learner, group.modules[0].batches
    before = [p.detach().clone() for p in learner.chain.parameters()]
    run(group, 0, 1)
    after = [p.detach().clone() for p in learner.chain.parameters()]
    x, targets = batches.x(0).double(), F.one_hot(batches.y(0), 5).double()
    blocks = build("stacked", (1, 3, 3), 5, hidden=[6, 5])
    chain = Chain(blocks).double()
    with torch.no_grad():
        for p, value in zip(chain.parameters(), before, strict=True):
            p.copy_(value)
    z, moved = x.flatten(1), iter(zip(before, after, strict=True))
    for block in chain:
        W, b = block.lower.parameters()
        gradients = torch.autograd.grad(lowest(block, z, targets), [W, b])
        with torch.no_grad():
            step = 1e-6
            W[0, 0] += step
            above = lowest(block, z, targets)
            W[0, 0] -= 2 * step
            below = lowest(block, z, targets)
            W[0, 0] += step
        assert float(above - below) / (2 * step) == pytest.approx(float(gradients[0][0, 0]), rel=1e-5)
        for gradient in gradients:
            was, now = next(moved)
            torch.testing.assert_close(was - now, gradient, rtol=1e-9, atol=1e-12)
        block.fit(block.lower(z), targets, PENALTY)  # what goes up is of the weights before they move
        z = block(z).detach()
        next(moved), next(moved)


def test_upper_weights_fit_the_lower_ones_as_they_are_after_the_step(lab):
    group = start(lab)
    batches, (first, _) = group.modules[0].batches, group.modules[0].learner.chain
    run(group, 0, 3)
    h = first.lower(batches.x(2).double().flatten(1))
    U, bias = ridge(h, F.one_hot(batches.y(2), 5).double(), PENALTY)
    torch.testing.assert_close(first.upper.weight, U.T)
    torch.testing.assert_close(first.upper.bias, bias)


def test_the_cut_into_modules_changes_nothing(lab):
    one, two = (start(lab, modules, {"name": "adam", "lr": 0.01, "momentum": None}) for modules in (1, 2))
    for group in (one, two):
        run(group, 0, 4)
    lab.assert_equal(lab.weights(one), lab.weights(two))


def test_blocks_are_trained_one_after_the_other_before_a_run(small):
    summary = train(
        small(
            "model={name: stacked, hidden: [20, 20]}",
            "pretrain={scheme: stacking, epochs: 2, blocks: 2}",
            "parallel.modules=1",
            "scheme.name=backprop",
            "train.epochs=1",
        )
    )
    assert summary["metrics"]["test/accuracy"] > 0.5


def planned(preset, words):
    config = load_config(preset, words)
    return make_plan(config, load_data(config))


@pytest.mark.parametrize(
    ("preset", "words", "said"),
    [
        ("quickstart", ["scheme.name=stacking"], r"cannot train block 0 \(Sequential\) of mlp: it solves for the"),
        ("recurrent/rnn", ["scheme.name=stacking"], "stacking cannot train the recurrent family: it solves for"),
        (
            "classics/stacked",
            ["parallel={replicas: 2, engine: auto}", "data.batch_size=200"],
            "parallel.replicas: 2, but stacking fits U",
        ),
        ("classics/stacked", ["scheme.stacking.penalty=0"], "scheme.stacking.penalty: must be greater than 0"),
        ("classics/stacked", ["scheme.name=hebbian"], "hebbian cannot train the mlp family"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(preset, words, said):
    with pytest.raises(ConfigError, match=said):
        planned(preset, words)
