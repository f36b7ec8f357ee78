"""Masked words through the engine: every module hides the same ones, and a resumed run the ones of an unbroken one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from unlocked.data import DataSet, Split
from unlocked.data.transforms.masking import Masking
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import MaskedLanguageModelling
from unlocked_models import Batch

BERT = {"name": "bert", "width": 8, "heads": 2, "depth": 2}
MASKING = Masking(hidden=4, first=7, vocabulary=20)


def words(n=24, length=9, seed=0) -> DataSet:
    """`<s> a .. </s> b .. </s>`, where b repeats a or does not."""
    g = torch.Generator().manual_seed(seed)

    def split() -> Split:
        a = torch.randint(7, 20, (n, 3), generator=g)
        same = torch.rand(n, generator=g) < 0.5
        b = torch.where(same[:, None], a, torch.randint(7, 20, (n, 3), generator=g))
        sign = torch.full((n, 1), 2)
        x = torch.cat([torch.ones_like(sign), a, sign, b, sign], 1)
        y = torch.zeros_like(x)
        y[:, 0] = torch.where(same, 5, 6)
        return Split(x, y)

    names = [str(i) for i in range(20)]
    return DataSet(
        "made",
        "masked_language_modelling",
        (length,),
        20,
        names,
        split(),
        None,
        split(),
        symbols=names,
        transforms=[MASKING],
    )


@pytest.mark.parametrize("modules", [1, 2, 4])
def test_every_module_sees_the_words_that_one_network_would(lab, modules):
    data = words()
    group = lab.start(data, model=BERT, parallel={"modules": modules})
    plan = group.modules[0].plan
    losses = lab.train(group, 0, 5)

    network = lab.network(plan)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    order = derive_seed(plan.config.seed, "order")
    for t in range(5):
        rows = lab.batches(plan, data).indices(t)
        generator = torch.Generator().manual_seed(step_seed(derive_seed(order, "masking"), t))
        batch = MASKING(Batch(data.train.x[rows], data.train.y[rows]), generator)
        x, y = batch.x, batch.y
        h = x
        for i, block in enumerate(network):
            h = block(h, batch) if 0 < i < 3 else block(h)
        named = cross_entropy(h[:, 1:].flatten(0, 1), y[:, 1:].flatten(), ignore_index=0)
        loss = named + cross_entropy(h[:, 0], y[:, 0])
        assert losses[t] == pytest.approx(loss.item(), abs=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-10)


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa"])
def test_cuts_and_restarts_change_nothing_under_any_scheme(lab, scheme):
    tree = {"model": BERT, "scheme": {"name": scheme, "lag": 2}, "parallel": {"modules": 2}}
    data = words()
    unbroken = lab.start(data, **tree)
    expected = lab.train(unbroken, 0, 8)
    first = lab.start(data, **tree)
    lab.train(first, 0, 4, checkpoint_at=4)
    second = lab.start(data, **tree)
    second.load_states(first.states(4))
    assert lab.train(second, 4, 8) == expected[4:]
    lab.assert_equal(lab.weights(second), lab.weights(unbroken))


def test_the_metrics_are_of_the_hidden_words_and_of_the_pairs():
    task = MaskedLanguageModelling()
    target = torch.tensor([[5, 9, 0, 8], [6, 0, 7, 0]])
    output = torch.zeros(2, 4, 10)
    for row, position, token in ((0, 0, 5), (1, 0, 5), (0, 1, 9), (0, 3, 8), (1, 2, 9), (0, 2, 3)):
        output[row, position, token] = 20.0
    metrics = task.metrics(task.keep(output, target), target)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["pairs"] == pytest.approx(1 / 2)
    assert metrics["bits"] * 0.6931471805599453 == pytest.approx(20 / 3, abs=1e-6)  # one of three words is 20 nats off
    assert metrics["loss"] == pytest.approx(20 / 3 + 20 / 2, abs=1e-6)
    assert task.loss(output, target).item() == pytest.approx(metrics["loss"], abs=1e-5)
    assert MaskedLanguageModelling.misfit("language_modelling", words().example) is not None


def test_where_no_pair_is_asked_for_none_is_measured():
    task = MaskedLanguageModelling()
    target = torch.tensor([[0, 9, 0, 8]])
    assert "pairs" not in task.metrics(task.keep(torch.zeros(1, 4, 10), target), target)
    assert task.loss(torch.zeros(1, 4, 10), target).item() == pytest.approx(2.302585, abs=1e-5)
