"""Easy examples first: which part of the split an epoch is drawn from."""

import pytest
import torch

from unlocked import load_config
from unlocked.data import Split, TrainBatches
from unlocked.data.easy_first import competence
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

N, BATCH = 100, 10
SPLIT = Split(torch.zeros(N, 2), torch.zeros(N), {"difficulty": torch.arange(N).flip(0).float()})


def rows_of_epoch(epoch, shard=(0, 1), share=0.5, split=SPLIT):
    batches = TrainBatches(split, BATCH, 0, shard=shard, steps=20 * 10, easy_first=share)
    return torch.cat([batches.indices(10 * epoch + i) for i in range(10)])


def test_an_epoch_is_drawn_from_the_easiest_part_that_the_equation_gives():
    for epoch in (0, 3, 7, 12):
        part = min(1.0, ((1 - 0.01) * (epoch / 20) / 0.5 + 0.01) ** 0.5)
        rows = rows_of_epoch(epoch)
        assert competence(epoch / 20, 0.5) == pytest.approx(part)
        assert rows.min() >= N - round(part * N)  # the last rows are the easiest
        assert len(rows) == N
        assert len(rows.unique()) == min(N, round(part * N))  # and all of these come


def test_without_it_an_epoch_is_a_permutation_as_ever():
    rows = rows_of_epoch(0, share=None)
    assert rows.sort().values.tolist() == list(range(N))


def test_replicas_together_see_what_one_process_sees():
    parts = torch.stack([rows_of_epoch(1, (r, 2)).view(10, -1) for r in (0, 1)], 2).flatten()
    assert torch.equal(parts, rows_of_epoch(1))


def test_sequences_are_easy_when_they_are_short():
    lengths = torch.randint(1, 50, (N,), generator=torch.Generator().manual_seed(0))
    rows = rows_of_epoch(0, split=Split(SPLIT.x, SPLIT.y, {"lengths": lengths}))
    assert lengths[rows].max() <= lengths.sort().values[9]


def test_data_that_say_nothing_of_their_difficulty_are_refused():
    config = load_config("quickstart", ["data.easy_first=0.5"])
    with pytest.raises(ConfigError, match=r"^data.easy_first: digits does not say how hard its examples are; give"):
        make_plan(config, load_data(config))


def test_a_measured_order_holds_from_the_next_epoch_on():
    batches = TrainBatches(SPLIT, BATCH, 0, steps=200, easy_first=0.5, measured=True)
    first = torch.cat([batches.indices(i) for i in range(10)])
    assert first.sort().values.tolist() == list(range(N))  # nothing is measured yet, whatever the data says
    batches.order(torch.arange(N))  # the other way round
    second = torch.cat([batches.indices(10 + i) for i in range(10)])
    assert second.max() < round(competence(10 / 200, 0.5) * N)
