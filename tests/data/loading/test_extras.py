"""What a data set gives beside inputs and targets, and a validation split of its own: through splits and the engine."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from unlocked.data import TrainBatches
from unlocked.data.digest import digest
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked_models import Ragged, register_model
from unlocked_models.contract.registry import MODELS

N = 40
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 4)), np.arange(N) % 4
COUNTS = RNG.integers(0, 4, N)
WORDS = Ragged(np.repeat(np.arange(N), COUNTS), np.concatenate([[0], np.cumsum(COUNTS)]))
EXTRAS = {"place": np.arange(N), "weight": X[:, :2] * 2, "mask": X > 0, "words": WORDS}


def held_together(split) -> bool:
    """Whether every extra is of the example that it was given with."""
    place = split.extras["place"]
    words = [row.tolist() for row in split.extras["words"]]
    return (
        torch.equal(split.x, torch.tensor(X, dtype=torch.float32)[place])
        and torch.equal(split.extras["mask"], split.x > 0)
        and torch.equal(split.extras["weight"], split.x[:, :2] * 2)
        and words == [[int(i)] * int(COUNTS[i]) for i in place]
    )


def test_extras_go_with_their_examples_through_every_split(mine):
    mine(X, Y, extras_train=EXTRAS)
    data = load("mine", validation=0.2, seed=1)
    assert all(held_together(split) for split in (data.train, data.validation, data.test))
    assert {extra.name: (extra.shape, extra.ragged) for extra in data.example.extras} == {
        "place": ((), False),
        "weight": ((2,), False),
        "mask": ((4,), False),
        "words": ((), True),
    }
    double = data.to(dtype=torch.float64).train.extras
    assert double["weight"].dtype == torch.float64
    assert double["place"].dtype == torch.int64


def test_minibatches_and_replicas_have_the_extras_of_their_examples(mine):
    mine(X, Y, extras_train=EXTRAS)
    train = load("mine").train
    whole = TrainBatches(train, 8, seed=3)
    parts = [TrainBatches(train, 8, seed=3, shard=(r, 2)) for r in range(2)]
    for step in (0, 5):
        assert torch.equal(train.x[whole.indices(step)], whole.x(step))
        places = whole.extras(step)["place"]
        assert torch.equal(torch.tensor(X, dtype=torch.float32)[places], whole.x(step))
        for r, part in enumerate(parts):
            assert torch.equal(part.extras(step)["place"], places[r::2])
            words = [row.tolist() for row in whole.extras(step)["words"]][r::2]
            assert [row.tolist() for row in part.extras(step)["words"]] == words


def test_a_validation_split_of_its_own_is_taken_as_it_is(mine):
    mine(X[:20], Y[:20], X[20:30], Y[20:30], x_validation=X[30:], y_validation=Y[30:])
    data = load("mine", validation=0.1)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [20, 10, 10]
    assert torch.equal(data.validation.x, torch.tensor(X[30:], dtype=torch.float32))
    assert load("mine", validation=0.0).validation is None


def test_the_digest_tells_extras_apart(mine):
    mine(X, Y, extras_train=EXTRAS)
    data = load("mine")
    for name, extra in data.test.extras.items():
        other = extra.rows(torch.arange(len(extra) - 1, -1, -1)) if isinstance(extra, Ragged) else extra.flip(0)
        changed = replace(data.test, extras={**data.test.extras, name: other})
        assert digest(replace(data, test=changed)) != digest(data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extras_train": [X]}, "extras_train is a list; it is a dictionary"),
        ({"extras_train": {"place": np.arange(3)}}, "extras_train['place'] has 3 rows, x_train has 40 examples"),
        ({"extras_train": {"edge index": X}}, "extras_train['edge index']: the name of an extra is a word"),
        ({"extras_train": {"y": X}}, "and neither x nor y"),
        ({"extras_train": {"w": 3.0}}, "extras_train['w'] is one number"),
        ({"extras_train": {"w": np.array(["a"] * N)}}, "extras_train['w'] holds"),
        ({"extras_train": {"w": X * np.nan}}, "extras_train['w'] has values that are not finite"),
        ({"extras_train": {"w": [[1], [2, 3]] * 20}}, "extras_train['w'] is ragged"),
        ({"extras_train": {"w": Ragged(X, np.arange(N))}}, "extras_train['w']: offsets are integers that rise"),
        ({"extras_test": {"w": X}}, "extras_test is given but x_test is not"),
        ({"x_test": X, "y_test": Y, "extras_train": {"w": X}}, "extras_test['w'] is missing"),
        ({"x_test": X, "y_test": Y, "extras_train": {"w": X}, "extras_test": {"w": Y}}, "extras_test['w'] is"),
        ({"x_validation": X}, "x_validation is given but y_validation is not"),
        ({"x_validation": X[:, :2], "y_validation": Y}, "has shape (4,) but a validation example (2,)"),
        ({"lengths_train": Y, "extras_train": {"lengths": Y}}, "which lengths_train gives too"),
        ({"extras_train": {"lengths": Y}}, "extras_train['lengths'] holds 0 in example 0"),
    ],
)
def test_extras_that_do_not_fit_are_refused_by_the_name_of_their_argument(mine, options, words):
    mine(X, Y, **options)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        load("mine", validation=0.1)
    assert "\n" not in str(caught.value)


class Weighed(nn.Module):
    """A layer that reads the extras, and how far the run is."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, h, batch):
        words = batch["words"].lengths.to(h.dtype)[:, None]
        return (self.linear(h) + batch["weight"].sum(1, keepdim=True) + words) * (0.5 + batch.progress)


@pytest.fixture
def weighed():
    @register_model("weighed")
    def make(in_shape, n_outputs):
        return [Weighed(in_shape[0], 6), Weighed(6, 6), nn.Linear(6, n_outputs)]

    yield {"name": "weighed"}
    MODELS._entries.pop("weighed")
    MODELS._facts.pop("weighed")


@pytest.mark.parametrize(("scheme", "lag"), [("backprop", "auto"), ("dfa", 2), ("cdni", 1)])
def test_every_module_sees_them_and_a_resumed_run_goes_on_as_an_unbroken_one(mine, weighed, lab, scheme, lag):
    mine(X, Y, extras_train=EXTRAS)
    data = load("mine")
    tree = {"model": weighed, "scheme": {"name": scheme, "lag": lag}, "parallel": {"modules": 3}}
    unbroken, first = (lab.start(data, **tree) for _ in range(2))
    expected = lab.train(unbroken, 0, 8)
    lab.train(first, 0, 4, checkpoint_at=4)
    second = lab.start(data, **tree)
    second.load_states(copy.deepcopy(first.states(4)))
    assert lab.train(second, 4, 8) == expected[4:]
    lab.assert_equal(lab.weights(second), lab.weights(unbroken))
    assert torch.equal(second.outputs("test"), unbroken.outputs("test"))


def test_the_chain_in_modules_is_the_plain_chain_on_whole_batches(mine, weighed, lab):
    mine(X, Y, extras_train=EXTRAS)
    data = load("mine").to(dtype=torch.float64)
    losses = {}
    for modules in (1, 3):
        tree = {"model": weighed, "parallel": {"modules": modules}}
        losses[modules] = lab.train(lab.start(data, **tree), 0, 6)
    assert losses[3] == pytest.approx(losses[1], abs=1e-12)
