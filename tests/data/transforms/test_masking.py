"""Masked words: which are asked for, what is shown in their place, and that it depends on seed and step alone."""

import pytest
import torch

from unlocked.data import Split, TrainBatches
from unlocked.data.transforms.masking import Masking
from unlocked.tasks import load
from unlocked_models import Batch

MASKING = Masking(hidden=4, first=7, vocabulary=50)


def masked(x, y, seed=0, shard=(0, 1)):
    batch = MASKING.of_replica(Batch(x, y), torch.Generator().manual_seed(seed), shard)
    return batch.x, batch.y


def rows(n=400, length=24, seed=0):
    """`<s> words </s>` of several lengths, and a sign asked for at the first position."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(7, 50, (n, length), generator=g)
    x[:, 0] = 1
    end = torch.randint(3, length, (n,), generator=g)
    x[torch.arange(n), end] = 2
    x[torch.arange(length) > end[:, None]] = 0
    y = torch.zeros_like(x)
    y[:, 0] = torch.randint(5, 7, (n,), generator=g)
    return x, y


def test_a_seventh_of_the_words_of_every_sequence_is_asked_for_and_signs_stay():
    x, y = rows()
    shown, asked = masked(x, y, seed=3)
    words, chosen = (x >= 7).sum(1), (asked >= 7).sum(1)
    assert torch.equal(chosen, (0.15 * words).round().clamp(min=1).long())
    assert torch.equal(asked[:, 0], y[:, 0])
    assert torch.equal(shown[x < 7], x[x < 7])
    assert torch.equal(asked[asked >= 7], x[asked >= 7])
    assert torch.equal(shown[asked == 0], x[asked == 0])


def test_eight_of_ten_are_hidden_one_is_replaced_and_one_left():
    x, y = rows(n=4000)
    shown, asked = masked(x, y, seed=3)
    at = asked >= 7
    n = int(at.sum())
    hidden, left = (shown[at] == 4).float().mean().item(), (shown[at] == x[at]).float().mean().item()
    other = (shown[at] >= 7) & (shown[at] != x[at])
    assert n > 5000  # four deviations of a mean of 5000 draws are below 0.023
    assert hidden == pytest.approx(0.8, abs=0.023)
    assert left == pytest.approx(0.1 + 0.1 / 43, abs=0.02)  # one of 43 words may be drawn in its own place
    assert len(shown[at][other].unique()) == 43


def test_it_is_a_function_of_the_seed_and_shows_again_what_was_hidden_before():
    x, y = rows(n=20)
    once = masked(x, y, seed=3)
    again = masked(*once, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(masked(x, y, seed=4)[0], once[0])
    other = masked(*once, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(other, masked(x, y, seed=4), strict=True))


def test_a_sequence_of_one_word_asks_for_it_and_one_without_asks_for_nothing():
    x = torch.tensor([[1, 9, 2, 0], [1, 2, 0, 0]])
    shown, asked = masked(x, torch.zeros_like(x), seed=0)
    assert asked.tolist() == [[0, 9, 0, 0], [0, 0, 0, 0]]
    assert shown[1].tolist() == x[1].tolist()


def test_replicas_together_see_what_one_would():
    x, y = rows(n=12)
    whole = masked(x, y, seed=5)
    parts = [masked(x[r::3], y[r::3], seed=5, shard=(r, 3)) for r in range(3)]
    for r, part in enumerate(parts):
        assert torch.equal(part[0], whole[0][r::3])
        assert torch.equal(part[1], whole[1][r::3])


def test_minibatches_hide_other_words_at_every_step_and_the_same_when_asked_again():
    x, y = rows(n=20)
    batches, again = (TrainBatches(Split(x, y), 10, seed=0, transforms=[MASKING]) for _ in range(2))
    seen = [batches.x(step) for step in range(4)]
    for step in (3, 0, 2):  # in any order, inputs or targets first
        asked, shown = again.y(step), again.x(step)
        assert torch.equal(shown, seen[step])
        at = asked >= 7
        assert torch.equal(torch.where(at, asked, shown), x[again.indices(step)])
    second = {int(i): batches.x(step)[b] for step in (2, 3) for b, i in enumerate(batches.indices(step))}
    again_seen = [torch.equal(second[int(i)], seen[0][b]) for b, i in enumerate(batches.indices(0))]
    assert sum(again_seen) <= 1  # the same rows, an epoch later: only one of few words may be drawn alike


def test_evaluation_splits_hold_one_draw():
    first, second = (load("manual_pairs", length=32, vocabulary=300, validation=0.1) for _ in range(2))
    for part in ("train", "validation", "test"):
        one, other = (data.train_shown if part == "train" else getattr(data, part) for data in (first, second))
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
        assert (one.x == first.transforms[0].hidden).any()
    assert first.example.masked
