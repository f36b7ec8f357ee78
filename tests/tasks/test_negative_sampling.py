"""Skip-gram with negative samples: its loss, its two tables of vectors, and the schemes that cannot train it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import logsigmoid

from unlocked.config import load_config
from unlocked.data.transforms.skipgram import SkipGram
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.negative_sampling import NegativeSampling

SMALL = [
    "data.options={length: 8, tokens: word, vocabulary: 60}",
    "data.validation=0",
    "model.width=6",
    "train.precision=fp64",
    "optimizer={name: sgd, lr: 0.5, schedule: constant}",
    "tracking.uri=off",
]


def test_the_loss_is_the_equation_s_mean_over_pairs_and_parts_add_up():
    task, g = NegativeSampling(), torch.Generator().manual_seed(0)
    scores = torch.randn(4, 5, 3, generator=g, dtype=torch.float64)
    y = torch.randint(0, 3, (4, 5), generator=g)
    pairs = [(i, j) for i in range(4) for j in range(5) if y[i, j]]
    by_hand = sum(-logsigmoid(scores[i, j, 0]) - logsigmoid(-scores[i, j, 1:]).sum() for i, j in pairs) / len(pairs)
    assert task.loss(scores, y).item() == pytest.approx(by_hand.item(), abs=1e-12)
    parts = [task.part_loss(scores[i : i + 2], y[i : i + 2], y) for i in (0, 2)]
    assert sum(parts).item() / 2 == pytest.approx(by_hand.item(), abs=1e-12)
    metrics = task.metrics(task.keep(scores, y), y)
    assert metrics["loss"] == pytest.approx(by_hand.item(), abs=1e-12)
    assert metrics["accuracy"] == sum(bool(scores[i, j].argmax() == 0) for i, j in pairs) / len(pairs)
    assert task.loss(scores, torch.zeros_like(y)).item() == 0.0


def run(*more):
    config = load_config("embedding/skipgram", [*SMALL, *more])
    data = load_data(config)
    return config, data, InProcessGroup(make_plan(config, data), data)


@pytest.fixture(scope="module")
def texts():
    torch.set_num_threads(1)


def test_two_modules_of_backprop_are_autograd_through_both_tables(texts, lab):
    _, data, group = run("scheme.name=backprop")
    module = group.modules[0]
    (v, u) = (table.clone().requires_grad_() for table in lab.weights(group).values())
    losses = lab.train(group, 0, 6)
    for t in range(6):
        x, y, candidates = module.batches.x(t), module.batches.y(t), module.batches.extras(t)["candidates"]
        scores = (u[candidates] * v[x][:, :, None]).sum(-1)
        loss = NegativeSampling().loss(scores, y)
        assert losses[t] == pytest.approx(loss.item(), abs=1e-12)
        for table, gradient in zip((v, u), torch.autograd.grad(loss, (v, u)), strict=True):
            table.data -= 0.5 * gradient
    for now, table in zip(lab.weights(group).values(), (v, u), strict=True):
        torch.testing.assert_close(now, table.detach(), rtol=0, atol=1e-12)
    assert isinstance(data.transforms[0], SkipGram)


@pytest.mark.parametrize("scheme", ["dni", "cdni", "frozen"])
def test_a_resumed_run_goes_on_as_an_unbroken_one(texts, lab, scheme):
    lag = 0 if scheme == "frozen" else 2
    _, _, unbroken = run(f"scheme.name={scheme}", f"scheme.lag={lag}")
    expected = lab.train(unbroken, 0, 6)
    _, _, first = run(f"scheme.name={scheme}", f"scheme.lag={lag}")
    lab.train(first, 0, 3, checkpoint_at=3)
    _, _, second = run(f"scheme.name={scheme}", f"scheme.lag={lag}")
    second.load_states(copy.deepcopy(first.states(3)))
    assert lab.train(second, 3, 6) == expected[3:]
    lab.assert_equal(lab.weights(second), lab.weights(unbroken))


@pytest.mark.parametrize("scheme", ["dfa", "local"])
def test_a_scheme_that_would_project_redrawn_words_is_refused_with_the_reason(texts, scheme):
    with pytest.raises(ConfigError, match=f"{scheme} cannot train for negative_sampling: a coordinate of the output"):
        run(f"scheme.name={scheme}")


def test_without_the_transform_the_task_says_what_is_missing(texts):
    config = load_config("embedding/skipgram", [*SMALL, "data.transforms=[]"])
    with pytest.raises(ConfigError, match=r"no candidates; data\.transforms=\[skipgram\] draws them"):
        make_plan(config, load_data(config))
