"""Skip-gram's pairs: near words, drawn by distance and frequency as in the authors' program, and negatives."""

from __future__ import annotations

import pytest
import torch

from unlocked.data.transforms.skipgram import SkipGram
from unlocked.data.words.text import PAD, UNK
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked_models import Batch

WINDOW, VOCABULARY = 3, 20


def rows(n=400, length=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY, (n, length), generator=g)


def drawn(x, seed=1, shard=(0, 1), train=None, **options):
    transform = SkipGram(**{"window": WINDOW, "negatives": 2, "sample": 1.0, **options})
    transform.prepare(Batch(x if train is None else train, x))
    return transform.of_replica(Batch(x, x), torch.Generator().manual_seed(seed), shard)


def test_a_context_is_another_word_of_its_row_within_the_window():
    x = torch.arange(4, 16).expand(300, 12).contiguous()  # a word says where it stands
    y = drawn(x).y
    distance = (y - x).abs()
    assert int(distance.min()) == 1
    assert int(distance.max()) == WINDOW
    assert torch.equal(drawn(x).extras["candidates"][..., 0], y)


def test_distances_are_as_frequent_as_a_width_drawn_from_one_to_the_window_makes_them():
    x = torch.arange(4, 104).expand(400, 100).contiguous()
    distance = (drawn(x).y - x).abs()[:, WINDOW:-WINDOW]  # 37,600 of them: four deviations are 0.011
    shares = [float((distance == d).float().mean()) for d in (1, 2, 3)]
    assert shares == pytest.approx([3 / 6, 2 / 6, 1 / 6], abs=0.011)


def test_frequent_words_are_left_out_as_centres_and_as_contexts():
    x = rows()
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5] = 4
    frequency = float((x == 4).float().mean())
    sample = 0.05
    y = drawn(x, sample=sample).y
    kept = (sample / frequency) ** 0.5
    centres = (y[x == 4] != PAD).float().mean()
    assert float(centres) == pytest.approx(kept, abs=0.05)
    shares = [float((drawn(x, sample=keep).y[:, 3:-3] == 4).float().mean()) for keep in (1.0, sample)]
    assert shares[0] == pytest.approx(frequency, abs=0.05)
    contexts = y[y != PAD]
    assert float((contexts == 4).float().mean()) < 0.7 * frequency


def test_padding_and_unknown_words_are_in_no_pair():
    x = rows()
    x[:, -4:], x[:, 2] = PAD, UNK
    batch = drawn(x)
    assert not batch.y[:, -4:].any()
    assert not batch.y[:, 2].any()
    pairs = batch.y != PAD
    assert int(batch.extras["candidates"][pairs].min()) > UNK
    alone = torch.full((2, 5), PAD)
    alone[:, 1] = 7
    assert not drawn(alone, train=x).y.any()


def test_negatives_are_drawn_by_frequency_to_the_three_quarters_and_are_not_the_true_word():
    x = torch.where(rows(n=2000) < 12, 5, 6)  # two words, evenly
    x[:, ::4] = 7
    count = torch.bincount(x.flatten()).double()
    wanted = count.pow(0.75) / count.pow(0.75).sum()
    batch = drawn(x, negatives=8)
    negatives, true = batch.extras["candidates"][..., 1:], batch.y[..., None]
    # the share of an id among negatives of pairs with another true word, up to those replaced by a second draw
    at = (true == 7).expand_as(negatives)
    share = float((negatives[at] == 5).double().mean())
    assert share == pytest.approx(float(wanted[5] * (1 + wanted[7])), abs=0.01)
    same = float((negatives == true).double().mean())
    assert same < float((wanted**2).max()) + 0.01  # both draws


def test_replicas_together_draw_what_one_would_and_seeds_differ():
    x = rows(n=12)
    whole = drawn(x)
    for r in range(3):
        one = drawn(x[r::3], shard=(r, 3), train=x)
        assert torch.equal(one.y, whole.y[r::3])
        assert torch.equal(one.extras["candidates"], whole.extras["candidates"][r::3])
    assert not torch.equal(drawn(x, seed=2).y, whole.y)


def test_any_text_takes_it_and_evaluation_splits_hold_one_draw():
    given = {"length": 16, "tokens": "word", "vocabulary": 300, "validation": 0.1}
    data, again = (load("python_manual", transforms=["skipgram"], **given) for _ in range(2))
    assert data.test.extras["candidates"].shape == (len(data.test), 16, 6)
    assert torch.equal(data.test.extras["candidates"], again.test.extras["candidates"])
    assert torch.equal(data.test.y, data.test.extras["candidates"][..., 0])
    assert [extra.name for extra in data.example.extras] == ["candidates"]


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("digits", "skipgram", "data.transforms: skipgram pairs words of a text"),
        ("python_manual", {"name": "skipgram", "window": 0}, "skipgram: window must be at least 1, got 0"),
        ("python_manual", {"name": "skipgram", "sample": 1e-15}, "sample 1e-15 leaves .* words of the whole training"),
        ("python_manual", {"name": "skipgram", "sample": float("nan")}, "skipgram: sample must be above 0, got nan"),
        ("python_manual", {"name": "skipgram", "sample": 0}, "skipgram: sample must be above 0, got 0"),
    ],
)
def test_what_it_cannot_take_is_refused(name, entry, said):
    with pytest.raises(DataError, match=said):
        load(name, transforms=[entry])
