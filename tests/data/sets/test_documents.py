"""Docstrings by package and pairs of sentences: rows as they should be, splits that share nothing."""

import pytest
import torch

from unlocked.data.sets.documents import NEXT, OTHER, PACKAGES, _pairs, _segments, _sentences
from unlocked.data.words.text import BOS, EOS, PAD, UNK
from unlocked.data.words.tokenize import fit
from unlocked.errors import DataError
from unlocked.tasks import load


@pytest.fixture(scope="module")
def docstrings():
    return load("docstrings", length=40)


@pytest.fixture(scope="module")
def pairs():
    return load("manual_pairs", length=40, vocabulary=500)


def test_docstrings_are_texts_of_several_lengths_of_eight_packages(docstrings):
    data = docstrings
    assert data.task == "classification"
    assert tuple(data.class_names) == PACKAGES
    assert len(data.train) > 1000
    assert data.example.vocabulary == 4000
    assert torch.bincount(data.train.y, minlength=8).min() > 40
    there = (data.train.x != PAD).sum(1)
    assert there.min() < 8
    assert there.max() == 40
    assert (data.train.x[:, 0] == BOS).all()
    whole = there < 40
    assert (data.train.x[whole, there[whole] - 1] == EOS).all()
    assert 0 < (data.train.x == UNK).sum() < 0.3 * there.sum()


def test_no_docstring_is_in_both_splits(docstrings):
    train, test = ({tuple(row) for row in part.x.tolist()} for part in (docstrings.train, docstrings.test))
    assert len(train & test) <= 0.02 * len(test)  # rows that differ in unknown words, or behind their end, alone


def test_docstrings_can_be_read_with_the_vocabulary_of_the_manual(pairs):
    data = load("docstrings", length=40, vocabulary=500, vocabulary_of="manual")
    assert data.symbols == pairs.symbols
    assert data.tokenizer == pairs.tokenizer


def test_pairs_are_two_framed_segments_and_ask_which_follows(pairs):
    data = pairs
    assert data.task == "masked_language_modelling"
    x = torch.where(data.train.y >= data.transforms[0].first, data.train.y, data.train.x)
    assert (x[:, 0] == BOS).all()
    assert ((x == EOS).sum(1) == 2).all()
    asked = data.train.y[:, 0]
    assert set(asked.tolist()) == {NEXT, OTHER}
    assert 0.45 < (asked == NEXT).float().mean() < 0.55
    assert ((data.train.y[:, 1:] >= data.transforms[0].first) | (data.train.y[:, 1:] == PAD)).all()


def test_a_pair_is_what_it_says():
    tokenizer = fit("made", "char", "abcdefgh")
    topics = [
        _segments(tokenizer, text, 40)
        for text in (
            "It is as it was. It will be so too! It may be not be here. It has been said.",
            "This is the other topic. This has a second sentence.",
        )
    ]
    pairs, follows = _pairs(topics, "train")
    whole = [[ids.tolist() for ids in topic] for topic in topics]
    assert len(pairs) == sum(len(topic) - 1 for topic in topics) == len(follows)
    for (a, b), follow in zip(pairs, follows, strict=True):
        topic = next(t for t in whole if a.tolist() in t)
        after = topic[topic.index(a.tolist()) + 1]
        assert (b.tolist() == after) == follow
        assert follow or b.tolist() not in topic


def test_sentences_are_running_text_alone():
    text = "The title\n*********\n\nFirst of all, this. And\nthen that (see below).\n\n   x = 1\n\n   stmt ::= a b c\n"
    assert _sentences(text) == ["First of all, this.", "And then that (see below)."]


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_as_many_words_are_asked_for_as_the_options_say(share):
    data = load("manual_pairs", length=40, vocabulary=500, asked=share)
    words = (
        torch.where(data.test.y >= data.transforms[0].first, data.test.y, data.test.x) >= data.transforms[0].first
    ).sum()
    assert float((data.test.y[:, 1:] != PAD).sum() / words) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "docstrings",
            {"length": 2},
            "data.options.length: must be at least 3 (a beginning, a token and an end), got 2",
        ),
        (
            "docstrings",
            {"vocabulary_of": "manuel"},
            "data.options.vocabulary_of: unknown text 'manuel'; did you mean 'man",
        ),
        (
            "manual_pairs",
            {"length": 7},
            "data.options.length: must be at least 8 (two sentences and three signs), got 7",
        ),
        ("manual_pairs", {"asked": 0.0}, "data.options.asked: must be a share greater than 0 and at most 1, got 0.0"),
        ("manual_pairs", {"vocabulary": 7}, "data.options.vocabulary: 7 is too small for word: 7 special tokens"),
    ],
)
def test_wrong_options_are_one_line(name, options, said):
    with pytest.raises(DataError) as error:
        load(name, **options)
    assert str(error.value).startswith(said)
