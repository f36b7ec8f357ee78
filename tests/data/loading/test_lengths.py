"""Sequences of several lengths: what was filled up is no part of them, in statistics, layers, pooling and splits."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from unlocked.data.digest import digest
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked.tasks import load
from unlocked_models import Batch, Chain, build

RNG = np.random.default_rng(0)
N, LONG = 60, 7
X = RNG.normal(5.0, 3.0, (N, LONG, 2))
LENGTHS = RNG.integers(1, LONG + 1, N)
THERE = np.arange(LONG) < LENGTHS[:, None]
Y = np.arange(N) % 3


def filled(x, with_):
    return np.where(THERE[:, :, None], x, with_)


def test_lengths_go_with_their_sequences_through_every_split(mine):
    marked = np.repeat(LENGTHS[:, None, None], LONG, 1).astype(float)
    mine(marked, Y, lengths_train=LENGTHS)
    data = load("mine", validation=0.2, seed=1)
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.lengths, split.x[:, 0, 0].long())
        assert torch.equal((split.x != 0).sum((1, 2)), split.lengths)
    assert data.example.has_lengths
    assert torch.equal(data.to("cpu", torch.float64).test.lengths, data.test.lengths)


@pytest.mark.parametrize("with_", [0.0, np.nan, 1e6])
def test_normalisation_looks_at_what_is_there_and_padding_may_hold_anything(mine, with_):
    mine(
        filled(X, with_),
        Y,
        filled(X, with_)[:9],
        Y[:9],
        normalise="train",
        lengths_train=LENGTHS,
        lengths_test=LENGTHS[:9],
    )
    data = load("mine")
    kept = X[THERE]  # (rows, 2)
    expected = np.where(THERE[:, :, None], (X - kept.mean(0)) / kept.std(0), 0.0)
    torch.testing.assert_close(data.train.x, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(data.test.x, data.train.x[:9])


def test_a_series_is_normalised_place_by_place_over_those_that_reach_it(mine):
    series = X[:, :, 0]
    short = np.minimum(LENGTHS, LONG - 1)  # none reaches the last place
    mine(series, Y, series[:9], Y[:9], normalise="train", lengths_train=short, lengths_test=short[:9])
    x = load("mine").train.x
    third = series[short > 2][:, 2]
    assert x[short > 2][:, 2].tolist() == pytest.approx(((third - third.mean()) / third.std()).tolist(), rel=1e-5)
    assert not x[:, -1].any()


def test_the_digest_of_a_set_tells_lengths_apart(mine):
    mine(np.zeros((N, LONG, 2)), Y, lengths_train=LENGTHS)
    data = load("mine")
    other = replace(data, test=replace(data.test, extras={"lengths": data.test.lengths.flip(0)}))
    assert digest(data) != digest(other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"lengths_train": LENGTHS[:-1]},
            "lengths_train holds integers of shape (59,); it needs integers of shape (60,)",
        ),
        ({"lengths_train": LENGTHS * 1.0}, "lengths_train holds real numbers of shape (60,)"),
        ({"lengths_train": LENGTHS * 0}, "lengths_train holds 0 in example 0; sequences have 1 to 7 positions"),
        ({"lengths_train": LENGTHS + 7}, "in example 0; sequences have 1 to 7 positions"),
        ({"lengths_test": LENGTHS}, "lengths_test is given but x_test is not"),
        ({"lengths_train": LENGTHS, "x_test": X, "y_test": Y}, "lengths_test is missing, lengths_train is given"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(mine, options, words):
    mine(X, Y, **options)
    with pytest.raises(DataError, match=re.escape(words)):
        load("mine")


def test_images_have_no_lengths(mine):
    mine(np.zeros((N, 3, 4, 4)), Y, lengths_train=LENGTHS)
    with pytest.raises(DataError, match=re.escape("sequences have shape (n, positions, features)")):
        load("mine")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("rnn", {}),
        ("lstm", {"pool": "mean"}),
        ("lstm", {"peephole": True}),
        ("gru", {"bidirectional": True}),
        ("gru", {"pool": "max"}),
        ("transformer", {"heads": 2, "width": 8}),
        ("transformer", {"heads": 2, "width": 8, "pool": "last"}),
    ],
)
def test_a_network_gives_for_a_filled_sequence_what_it_gives_for_it_alone(mine, model, options):
    """Also where it begins and ends in rows that normalisation makes zero."""
    mine(filled(X, 9.0), Y, filled(X, 9.0), Y, normalise="train", lengths_train=LENGTHS, lengths_test=LENGTHS)
    data = load("mine").to(dtype=torch.float64)
    x, lengths = data.train.x.clone(), data.train.lengths
    x[0, lengths[0] - 1] = 0.0
    x[:, -1] = torch.where(lengths[:, None] == LONG, x[:, -1], torch.full_like(x[:, -1], 3.0))  # it is not looked at
    torch.manual_seed(0)
    chain = Chain(build(model, data.in_shape, 3, example=data.example, **options)).double().eval()
    out = chain(x, Batch(x, data.train.y, extras={"lengths": lengths}))
    for i in range(8):
        alone = x[i : i + 1, : lengths[i]]
        wanted = chain(alone, Batch(alone, data.train.y[i : i + 1], extras={"lengths": lengths[i : i + 1]}))
        torch.testing.assert_close(out[i : i + 1], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "transformer"])
def test_padded_without_lengths_is_refused(mine, model, lab):
    mine(X, Y, normalise="train")
    with pytest.raises(ConfigError, match=r"model\.padded: true, but the data does not say how long"):
        make_plan(lab.config(data={"name": "mine"}, model={"name": model, "padded": True}), load("mine"))


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni"])
def test_over_modules_lengths_are_those_of_the_minibatch(mine, lab, scheme):
    """Padding changed behind the data's back changes no number; in training, evaluation, and after a checkpoint."""
    mine(X, Y, X, Y, normalise="train", lengths_train=LENGTHS, lengths_test=LENGTHS)
    data = load("mine")
    behind = torch.arange(LONG) >= data.train.lengths[:, None]
    other = replace(
        data,
        **{
            part: replace(data.train, x=data.train.x.masked_fill(behind[:, :, None], 5.0)) for part in ("train", "test")
        },
    )
    tree = {
        "data": {"name": "mine", "batch_size": 10},
        "scheme": {"name": scheme},
        "model": {"name": "gru", "hidden": [4, 4], "bidirectional": True},
        "parallel": {"modules": 2},
    }
    plan = make_plan(lab.config(**tree), data)
    one, two = InProcessGroup(plan, data), InProcessGroup(plan, other)
    assert lab.train(one, 0, 5, 5) == lab.train(two, 0, 5, 5)
    assert torch.equal(one.outputs("test"), two.outputs("test"))
    again = InProcessGroup(plan, other)
    again.load_states(copy.deepcopy(one.states(5)))
    assert lab.train(again, 5, 9) == lab.train(one, 5, 9)
