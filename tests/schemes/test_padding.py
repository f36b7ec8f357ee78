"""Sequences filled up further change nothing: outputs, losses and weights, under every scheme."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from unlocked.data import DATA, RawData, register_data
from unlocked.engine.group import InProcessGroup
from unlocked.plan.make import make_plan
from unlocked.tasks import load

N, LONG = 40, 6
RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, LONG + 1, N)
Y = np.arange(N) % 3


def features(longer: int) -> np.ndarray:
    x = np.full((N, LONG + longer, 2), 9.0 * (1 + longer))  # after the end there may be anything
    for row, n in zip(x, LENGTHS, strict=True):
        row[:n] = np.random.default_rng(n).normal(size=(n, 2))
    return x


@pytest.fixture
def sequences():
    @register_data("filled")
    def filled(source, longer: int = 0):
        x = features(longer)
        return RawData(x, Y, x, Y, normalise="train", lengths_train=LENGTHS, lengths_test=LENGTHS)

    yield lambda longer: load("filled", longer=longer).to(dtype=torch.float64)
    DATA._entries.pop("filled")
    DATA._facts.pop("filled")


def trained(lab, data, scheme, model, **options):
    tree = {
        "data": {"name": data.name if data.name in DATA else "digits", "batch_size": 8},
        "scheme": {"name": scheme, **options},
        "model": model,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "parallel": {"modules": 2},
        "train": {"precision": "fp64"},
    }
    group = InProcessGroup(make_plan(lab.config(**tree), data), data)
    losses = lab.train(group, 0, 6, 3)
    return losses, group.outputs("test"), lab.weights(group)


RNN = {"name": "gru", "hidden": [4, 4]}
BOTH_WAYS = {"name": "lstm", "hidden": [4, 4], "bidirectional": True, "pool": "mean"}
ATTENDS = {"name": "transformer", "width": 4, "depth": 2, "heads": 2, "positions": "sinusoidal", "pool": "max"}
SHARED = {"feedback": {"shared_positions": True}}


CELLS = [(RNN, scheme, {}) for scheme in ("backprop", "dni", "local", "frozen")]
CELLS += [(ATTENDS, "backprop", {}), (ATTENDS, "cdni", {"sg": {"hidden": [5]}}), (ATTENDS, "dfa", SHARED)]
CELLS += [(BOTH_WAYS, "backprop", {}), (BOTH_WAYS, "dfa", SHARED), (RNN, "cdni", {"sg": {"hidden": [5]}})]


@pytest.mark.parametrize(("model", "scheme", "options"), CELLS, ids=lambda part: part if isinstance(part, str) else "")
def test_padding_more_changes_nothing(lab, sequences, model, scheme, options):
    one, other = (trained(lab, sequences(longer), scheme, model, **options) for longer in (0, 3))
    assert one[0] == pytest.approx(other[0], abs=1e-10)
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-10)
    lab.assert_close(one[2], other[2], 1e-10)


@pytest.mark.parametrize(("model", "scheme"), [(RNN, "local"), (ATTENDS, "local"), (ATTENDS, "backprop")])
def test_more_padding_of_tokens_changes_nothing(lab, model, scheme):
    whole = lab.sentences(length=LONG, n=24)
    found = []
    for longer in (0, 3):
        splits = {}
        for part in ("train", "test"):
            split = getattr(whole, part)
            splits[part] = replace(split, x=torch.nn.functional.pad(split.x, (0, longer)))
        data = replace(whole, in_shape=(LONG + longer,), **splits).to(dtype=torch.float64)
        found.append(trained(lab, data, scheme, model))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-10)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=1e-10)
    lab.assert_close(found[0][2], found[1][2], 1e-10)


@pytest.mark.parametrize("scheme", ["backprop", "dni"])
def test_a_recurrent_autoencoder_neither_reads_nor_writes_padding(lab, sequences, scheme):
    model = {"name": "recurrent_autoencoder", "hidden": [5, 4], "code": 3}
    found = []
    for longer in (0, 3):
        data = sequences(longer)
        tree = {"data": {"name": "filled", "batch_size": 8}, "task": "reconstruction", "model": model}
        tree |= {"scheme": {"name": scheme}, "parallel": {"modules": 2}, "train": {"precision": "fp64"}}
        group = InProcessGroup(make_plan(lab.config(**tree), data), data)
        losses, task = lab.train(group, 0, 6, 3), group.modules[0].learner.task
        found.append((losses, task.measure(group.outputs("test"), data, "test"), lab.weights(group)))
    (losses, metrics, weights), (others, those, theirs) = found
    assert (losses, metrics) == (pytest.approx(others, abs=1e-10), pytest.approx(those, abs=1e-10))
    lab.assert_close(weights, theirs, 1e-10)


def test_nothing_is_injected_at_padding(lab, sequences):
    data = sequences(2)
    for scheme in ("dni", "dfa"):
        tree = {"data": {"name": "filled", "batch_size": 8}, "scheme": {"name": scheme}, "model": RNN}
        plan = make_plan(lab.config(**tree, parallel={"modules": 2}, train={"precision": "fp64"}), data)
        learner = InProcessGroup(plan, data).modules[0].learner
        if scheme == "dni":
            for p in learner.sg.parameters():
                torch.nn.init.ones_(p)
        batch = data.train.batch(torch.arange(8))
        h = torch.ones(8, LONG + 2, 4, dtype=torch.float64)
        points = [h] * (1 if scheme == "dni" else len(learner.feedback))
        g = learner.injected(points, batch, torch.ones(8, 3, dtype=torch.float64))[0]
        there = torch.arange(LONG + 2) < batch.lengths[:, None]
        assert (g != 0).any(-1).equal(there)


def test_what_stands_at_padding_is_zero_to_models_that_read_all_of_it(sequences):
    @register_data("raw")
    def raw(source):
        x = features(1)
        x[0, LENGTHS[0] :] = np.inf
        return RawData(x, Y, x, Y, lengths_train=LENGTHS, lengths_test=LENGTHS)

    try:
        data = load("raw")
    finally:
        DATA._entries.pop("raw")
        DATA._facts.pop("raw")
    behind = torch.arange(LONG + 1) >= data.train.lengths[:, None]
    assert not data.train.x[behind].any()
    assert data.train.x[~behind].all()
