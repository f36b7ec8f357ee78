"""What is measured of word vectors: vectors that know all, and vectors that know nothing."""

from __future__ import annotations

from dataclasses import replace

import torch

from unlocked.data.dataset import DataSet, Split
from unlocked.data.words.text import SPECIAL
from unlocked.data.words.word_classes import TAGS, class_of, counted
from unlocked.decoding.words import Words
from unlocked.tasks.word_probe import analogies, part_of_speech, pasts, plurals, probes

NOUNS = ["cat", "dog", "box", "pony", "tree", "cup", "hat", "pen"]
PLURALS = ["cats", "dogs", "boxes", "ponies", "trees", "cups", "hats", "pens"]
VERBS, PASTS = ["walk", "like", "cry", "play"], ["walked", "liked", "cried", "played"]
KINDS = {"noun": NOUNS, "noun, plural": PLURALS, "verb": VERBS, "verb, past": PASTS}
WORDS = [*SPECIAL, *(word for words in KINDS.values() for word in words), "unsure"]


def tagged(ids=None):
    """Every word three times with its class; `unsure` with two."""
    classes = [class_of(kind) for kind, words in KINDS.items() for _ in words]
    ids = list(range(len(SPECIAL), len(WORDS) - 1))
    unsure = [WORDS.index("unsure")] * 2
    x = torch.tensor([ids * 3 + unsure])
    tags = torch.tensor([classes * 3 + [class_of("noun"), class_of("verb")]])
    split = Split(x, x, {TAGS: tags})
    return DataSet("made", "", tuple(x.shape[1:]), len(WORDS), WORDS, split, None, split, symbols=WORDS)


def knowing():
    """Each word's own direction, and one for its kind."""
    g = torch.Generator().manual_seed(0)
    table = torch.randn(len(WORDS), 40, generator=g)
    for pairs in (zip(NOUNS, PLURALS, strict=True), zip(VERBS, PASTS, strict=True)):
        for word, form in pairs:
            table[WORDS.index(form)] = table[WORDS.index(word)]
    for axis, words in enumerate((NOUNS + PLURALS, VERBS + PASTS, PLURALS, PASTS)):
        for word in words:
            table[WORDS.index(word), axis] += 5
    return table


def test_vectors_that_know_answer_and_those_that_do_not_fail():
    data = tagged()
    found = probes(data, knowing())
    assert found["part_of_speech"] == 1.0
    assert found["plural"] == found["past"] == 1.0
    g = torch.Generator().manual_seed(1)
    assert probes(data, torch.randn(len(WORDS), 40, generator=g))["part_of_speech"] < 0.8


def test_pairs_are_words_and_their_regular_forms():
    count = counted(tagged())
    named = [[(WORDS[a], WORDS[b]) for a, b in of(WORDS, count)] for of in (plurals, pasts)]
    assert sorted(named[0]) == sorted(zip(NOUNS, PLURALS, strict=True))
    assert sorted(named[1]) == sorted(zip(VERBS, PASTS, strict=True))


def test_an_analogy_leaves_out_what_was_given_and_its_control_the_offset():
    """22 words are nearer to c than its form d is: the offset finds d among all others, c alone does not."""
    g = torch.Generator().manual_seed(0)
    words = [*SPECIAL, "a", "b", "c", "d", *(f"w{i}" for i in range(40))]
    table = torch.randn(len(words), 50, generator=g)
    a, b, c, d = range(4, 8)
    table[b], table[d] = table[a] + 9 * torch.eye(50)[0], table[c] + 9 * torch.eye(50)[0]
    table[8:30] = table[c] + 0.01 * torch.randn(22, 50, generator=g)  # nearer to c than d is
    vectors = Words(words, table)
    assert analogies(vectors, [(a, b), (c, d)]) == 1.0
    assert analogies(vectors, [(a, b), (c, d)], offset=False) == 0.5  # b is among the ten nearest to a


def test_a_text_without_tags_and_one_kind_of_word_have_no_probe():
    data = tagged()
    split = Split(data.train.x, data.train.x)
    plain = replace(data, train=split, test=split)
    assert probes(plain, knowing()) == {}
    count = counted(data)
    count[:, [class_of(kind) for kind in ("verb", "verb, past")]] = 0
    assert part_of_speech(count, knowing()) is None
