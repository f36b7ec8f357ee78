"""All words of a window at once: windows that are drawn, frequent words that close up, negatives by frequency."""

from __future__ import annotations

import pytest
import torch

from unlocked.data.transforms.skipgram import SkipGram
from unlocked.data.transforms.windows import Cbow, Windows
from unlocked.data.words.text import EOS, PAD, UNK
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked_models import Batch
from unlocked_models.embedding import offsets

WINDOW = 3


def drawn(kind, x, seed=1, train=None, shard=(0, 1), **options):
    transform = kind(**{"window": WINDOW, "negatives": 2, "sample": 1.0, **options})
    transform.prepare(Batch(x if train is None else train, x))
    return transform.of_replica(Batch(x, x), torch.Generator().manual_seed(seed), shard)


def numbered(n=300, length=12):
    """Every word says where it stands, from 4 on."""
    return torch.arange(4, 4 + length).expand(n, length).contiguous()


def test_a_window_reaches_as_far_to_both_sides_and_every_width_is_as_likely():
    x = numbered(2000, 20)
    batch = drawn(Windows, x)
    assert torch.equal(batch.x, x)
    middle = batch.y[:, WINDOW:-WINDOW]
    there = middle != PAD
    beside = torch.tensor(offsets(2 * WINDOW))
    expected = x[:, WINDOW:-WINDOW, None] + beside
    assert torch.equal(middle, expected.masked_fill(~there, PAD))
    reach = there.sum(-1) // 2  # as many on the left as on the right, and none beyond
    assert torch.equal(there, beside.abs() <= reach[..., None])
    shares = torch.bincount(reach.flatten()).double() / reach.numel()
    assert shares[1:].tolist() == pytest.approx([1 / 3] * 3, abs=0.01)  # 28,000 windows: five deviations are 0.014


def test_a_window_ends_with_its_row():
    y = drawn(Windows, numbered(), window=2).y
    assert not y[:, 0, 0::2].any()  # no word on the left of the first
    assert not y[:, -1, 1::2].any()


@pytest.mark.parametrize("kind", [Windows, Cbow, SkipGram])
def test_a_window_ends_with_its_sentence(kind):
    x = numbered()
    x[:, 5] = EOS  # words 4 to 8, then 10 to 15
    batch = drawn(kind, x)
    near, middle = (batch.x, batch.y) if kind is Cbow else (batch.y, batch.x)
    there = near != PAD
    assert bool(there.any())
    assert not (near == EOS).any()
    same = (near < 9) == ((middle < 9) if kind is SkipGram else (middle < 9)[..., None])
    assert bool(same[there].all())
    assert set(near[there].tolist()) == {*range(4, 9), *range(10, 16)}


def test_frequent_words_are_left_out_and_the_rest_closes_up():
    g = torch.Generator().manual_seed(0)
    x = torch.where(torch.rand(500, 12, generator=g) < 0.5, 4, numbered(500) + 1)
    x[:, 0] = UNK
    frequency = float((x == 4).sum() / (x >= 4).sum())
    sample = 0.02
    rows = drawn(Windows, x, sample=sample, train=x).x
    for share, word in ((frequency, x == 4), ((1 - frequency) / 11, x > 4)):  # of eleven others each is as frequent
        kept = min(1.0, (sample / share) ** 0.5 + sample / share)  # as word2vec's program has it
        left = (rows == 4).sum() if share == frequency else (rows > 4).sum()
        assert float(left / word.sum()) == pytest.approx(kept, abs=0.03)
    assert not (rows == UNK).any()
    ends = (rows != PAD).int()
    assert bool((ends.diff(dim=1) <= 0).all()), "words first, then padding"
    others = [row[row > 4] for row in rows]
    assert all(bool((row.diff() > 0).all()) for row in others), "in their order"


def test_bags_of_words_are_the_windows_and_ask_for_the_word_between():
    x = numbered()
    windows, bags = drawn(Windows, x), drawn(Cbow, x)
    assert torch.equal(bags.x, windows.y)  # the same draws
    assert torch.equal(bags.y, x)
    assert torch.equal(bags.extras["candidates"][..., 0], x)
    alone = torch.full((2, 5), PAD)
    alone[:, 1] = 7
    assert not drawn(Cbow, alone, train=x).y.any()
    assert "candidates" not in drawn(Cbow, x, negatives=0).extras


@pytest.mark.parametrize(("kind", "extra"), [(Windows, "negatives"), (Cbow, "candidates")])
def test_negatives_follow_frequency_to_the_three_quarters(kind, extra):
    x = torch.where(torch.rand(4000, 12, generator=torch.Generator().manual_seed(0)) < 0.8, 5, 6)
    x[:, ::4] = 7
    count = torch.bincount(x.flatten()).double().pow(0.75)
    batch = drawn(kind, x, negatives=4)
    found = batch.extras[extra]
    if kind is Cbow:  # one that is the word itself is drawn again
        found = found[..., 1:][batch.y == 7]
        expected = (count / count.sum())[5] * (1 + (count / count.sum())[7])
    else:
        expected = (count / count.sum())[5]
    assert float((found == 5).double().mean()) == pytest.approx(float(expected), abs=0.01)


@pytest.mark.parametrize("kind", [Windows, Cbow])
def test_replicas_together_draw_what_one_would(kind):
    x = numbered(12)
    whole = drawn(kind, x)
    for r in range(3):
        one = drawn(kind, x[r::3], shard=(r, 3), train=x)
        assert torch.equal(one.x, whole.x[r::3])
        assert torch.equal(one.y, whole.y[r::3])
        assert all(torch.equal(one.extras[name], each[r::3]) for name, each in whole.extras.items())


@pytest.mark.parametrize("name", ["skipgram", "windows", "cbow"])
def test_what_has_no_windows_is_one_line(name):
    def said(data, **options):
        with pytest.raises(DataError) as caught:
            load(data, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    words = {"tokens": "word", "vocabulary": 60}
    wide = said("python_manual", transforms=[{"name": name, "window": 8}], length=8, **words)
    assert "windows that reach 8 words to each side, and a row of the text has 8" in wide
    assert "data.options.length to at least 9" in wide
    assert "no sequence of ids" in said("digits", transforms=[name])


@pytest.mark.parametrize("name", ["skipgram", "windows", "cbow"])
def test_a_vocabulary_of_one_word_is_refused(name, tmp_path):
    file = tmp_path / "one.txt"
    file.write_text("word " * 200)
    with pytest.raises(DataError, match="need at least 2 different words, the training text has 1"):
        load("text", file=str(file), length=8, tokens="word", transforms=[name])
    file.write_text("word " * 5)
    with pytest.raises(DataError, match=r"the text has 5 tokens, a window of data\.options\.length 8 needs 9"):
        load("text", file=str(file), length=8, tokens="word", transforms=[name])
