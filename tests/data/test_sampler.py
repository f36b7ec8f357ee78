from itertools import pairwise

import pytest
import torch

from unlocked.data import Split, TrainBatches, eval_rows, in_order
from unlocked.data.transform import build_transforms
from unlocked.errors import DataError

N = 103
ROWS = Split(x=torch.arange(float(N))[:, None].expand(N, 3).contiguous(), y=torch.arange(N))
IMAGES = Split(x=torch.randn(N, 2, 8, 8, generator=torch.Generator().manual_seed(0)), y=torch.arange(N))


def test_x_and_y_of_a_step_are_the_same_examples():
    batches = TrainBatches(ROWS, 10, seed=0)
    for step in (0, 7, 123):
        assert torch.equal(batches.x(step)[:, 0].long(), batches.y(step))
        assert torch.equal(batches.y(step), batches.indices(step))


def test_an_epoch_visits_every_example_once_but_the_dropped_rest():
    batches = TrainBatches(ROWS, 10, seed=0)
    assert batches.steps_per_epoch == 10
    for epoch in range(2):
        seen = torch.cat([batches.y(step) for step in range(epoch * 10, epoch * 10 + 10)])
        assert len(set(seen.tolist())) == 100


def test_epochs_and_seeds_have_different_orders():
    batches, other = TrainBatches(ROWS, 100, seed=0), TrainBatches(ROWS, 100, seed=1)
    assert not torch.equal(batches.y(0), batches.y(1))
    assert not torch.equal(batches.y(0), other.y(0))


def test_a_step_does_not_depend_on_the_steps_drawn_before():
    straight = TrainBatches(ROWS, 10, seed=0)
    expected = [straight.y(step) for step in range(40)]
    jumping = TrainBatches(ROWS, 10, seed=0)
    for step in (39, 0, 20, 9, 10, 9, 11, 35, 2):
        assert torch.equal(jumping.y(step), expected[step])


def test_the_order_is_the_one_of_the_first_release():
    assert TrainBatches(ROWS, 10, seed=0).y(0).tolist() == ORDER_OF_SEED_0
    assert TrainBatches(ROWS, 10, seed=0).y(10).tolist() == ORDER_OF_EPOCH_1


ORDER_OF_SEED_0 = [42, 12, 92, 85, 40, 72, 78, 94, 49, 11]
ORDER_OF_EPOCH_1 = [41, 9, 21, 80, 34, 31, 30, 98, 20, 6]


@pytest.mark.parametrize("entries", [[], ["flip", {"name": "crop", "size": 2}, "shift", {"name": "cutout", "size": 3}]])
def test_replicas_together_see_exactly_what_one_process_sees(entries):
    transforms = build_transforms(entries)
    whole = TrainBatches(IMAGES, 12, seed=5, transforms=transforms)
    parts = [TrainBatches(IMAGES, 12, seed=5, transforms=transforms, shard=(r, 3)) for r in range(3)]
    for step in (0, 8, 20):
        x = torch.stack([part.x(step) for part in parts], dim=1).flatten(0, 1)
        y = torch.stack([part.y(step) for part in parts], dim=1).flatten()
        assert torch.equal(x, whole.x(step))
        assert torch.equal(y, whole.y(step))


def test_augmentation_changes_x_alone_and_differs_between_steps():
    same = Split(x=torch.randn(1, 1, 8, 8).expand(64, 1, 8, 8).contiguous(), y=torch.arange(64))
    batches = TrainBatches(same, 64, seed=0, transforms=build_transforms(["crop"]))
    assert torch.equal(batches.y(0), TrainBatches(same, 64, seed=0).y(0))
    assert torch.equal(batches.x(3), batches.x(3))
    assert not torch.equal(batches.x(0), batches.x(1))


def test_a_batch_can_be_changed_in_place_without_changing_the_data():
    batches = TrainBatches(ROWS, 10, seed=0)
    batches.x(0).zero_()
    assert torch.equal(batches.x(0)[:, 0].long(), batches.y(0))


def test_only_the_epochs_around_the_current_one_are_kept():
    batches = TrainBatches(ROWS, 10, seed=0)
    for epoch in range(20):
        batches.y(epoch * 10)
    assert len(batches._epochs) <= 3


def test_sizes_that_cannot_work_are_refused():
    with pytest.raises(DataError, match=r"^data\.batch_size: 104 is larger than the 103 training examples"):
        TrainBatches(ROWS, 104, seed=0, name="rows")
    with pytest.raises(DataError, match="at least 1"):
        TrainBatches(ROWS, 0, seed=0)
    with pytest.raises(ValueError, match="does not divide"):
        TrainBatches(ROWS, 10, seed=0, shard=(0, 3))
    with pytest.raises(ValueError, match="0 to 1"):
        TrainBatches(ROWS, 10, seed=0, shard=(2, 2))
    with pytest.raises(IndexError, match="count from 0"):
        TrainBatches(ROWS, 10, seed=0).y(-1)


def test_evaluation_covers_everything_once_in_order():
    for n, size in ((1, 4), (8, 4), (9, 4)):
        rows = [each for each, fresh in eval_rows(n, size) if fresh]
        assert max(map(len, rows)) <= size
        assert torch.cat(rows).tolist() == list(range(n))
    with pytest.raises(DataError, match="at least 1"):
        eval_rows(5, 0)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23])
def test_carried_evaluation_reads_stretches_row_by_row(n):
    each = eval_rows(n, 4, carried=True)
    rows = [part for part, _ in each]
    assert [fresh for _, fresh in each] == [True] + [False] * (len(each) - 1)
    assert sorted(torch.cat(rows).tolist()) == list(range(n))
    assert max(map(len, rows)) <= 4
    for before, after in pairwise(rows):
        assert torch.equal(after, before[: len(after)] + 1)  # what is missing is missing at the end
    assert torch.equal(in_order(each, [r * 10 for r in rows]), torch.arange(n) * 10)


def test_carried_evaluation_of_episodes_begins_with_each():
    each = eval_rows(12, 2, carried=True, stretch=3)
    assert [fresh for _, fresh in each] == [True, False, False] * 2
    assert [rows.tolist() for rows, _ in each] == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]


def test_episodes_are_drawn_and_read_in_order():
    n = 5
    batches = TrainBatches(ROWS, n, seed=0, carried=True, stretch=4, begin=8)
    assert batches.steps_per_epoch == N // 4 // n * 4
    seen = []
    for t in range(8, 8 + batches.steps_per_epoch):
        rows = batches.indices(t)
        assert batches.fresh(t) == ((t - 8) % 4 == 0)
        assert torch.equal(rows % 4, torch.full((n,), (t - 8) % 4))
        if not batches.fresh(t):
            assert torch.equal(rows, batches.indices(t - 1) + 1)
        seen += rows.tolist()
    assert len(set(seen)) == len(seen)
    again = [batches.indices(8 + batches.steps_per_epoch + i).tolist() for i in range(4)]
    assert again != [batches.indices(8 + i).tolist() for i in range(4)]  # another order in the next epoch
    with pytest.raises(IndexError, match="count from 0"):
        batches.y(7)


def test_carried_minibatches_go_on_where_the_last_one_ended():
    batches = TrainBatches(ROWS, 10, seed=0, carried=True)
    assert batches.steps_per_epoch == N // 10
    for t in range(1, batches.steps_per_epoch):
        assert torch.equal(batches.y(t), batches.y(t - 1) + 1)
        assert not batches.fresh(t)
    assert batches.fresh(0)
    assert batches.fresh(batches.steps_per_epoch)
    assert torch.equal(batches.y(0), batches.y(batches.steps_per_epoch))
    halves = [TrainBatches(ROWS, 10, seed=0, carried=True, shard=(r, 2)).y(3) for r in range(2)]
    assert torch.equal(torch.stack(halves, 1).flatten(), batches.y(3))
