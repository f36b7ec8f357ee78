"""Parallel corpora: what becomes of pairs, and the sets made of them."""

import gettext
import json
import struct
from datetime import date

import numpy as np
import pytest

from unlocked.data import DATA, RawData, register_data
from unlocked.data.sets import verses
from unlocked.data.sets.dates import WAYS, ordinal_words, year_words
from unlocked.data.words import tokenize
from unlocked.data.words.pairs import ended, made_of
from unlocked.data.words.text import EOS, SPECIAL, UNK
from unlocked.errors import DataError
from unlocked.tasks import load


def spoken(ids, symbols) -> list[str]:
    return [symbols[i] for i in ids if i > EOS or i == UNK]


def test_sequences_have_an_end_and_padding():
    assert ended([[5, UNK], []], 4).tolist() == [[5, UNK, EOS, 0], [EOS, 0, 0, 0]]
    with pytest.raises(ValueError, match="4 tokens, at most 3 fit"):
        ended([[7] * 4], 4)


def made(pairs, length=5, tokens="word", vocabulary=100, lowercase=True):
    return made_of("made", pairs, length, tokens, vocabulary, lowercase)


def test_a_tenth_of_the_pairs_is_the_test_split_and_no_vocabulary_knows_it():
    raw = made([(f"source{i} .", f"target{i} .") for i in range(50)], vocabulary=1000)
    assert (len(raw.x_train), len(raw.x_test)) == (45, 5)
    assert raw.x_test.tolist() == [[UNK, raw.symbols.index("."), EOS, 0, 0]] * 5  # words of the test split are new
    assert UNK not in raw.x_train
    assert np.array_equal(raw.x_test, made([(f"source{i} .", f"target{i} .") for i in range(50)]).x_test)


def test_pairs_with_a_long_or_an_empty_side_are_left_out():
    raw = made([("a b c d e", "x"), ("a", "x y z u v"), ("", "x"), ("a b", " ")] + [("a b", "x y")] * 30)
    assert len(raw.x_train) + len(raw.x_test) == 30


@pytest.mark.parametrize("lowercase", [True, False])
def test_byte_pairs_leave_nothing_unknown_and_give_the_text_back(lowercase):
    raw = made([("Ça va ?", "How are you?")] * 20, 40, "bpe", 300, lowercase)
    tokenizer = tokenize.from_json(raw.tokenizer)
    given = tokenize.decode(tokenizer, tokenize.encode(tokenizer, "Où ÇA?"))
    assert given == ("où ça?" if lowercase else "Où ÇA?")
    assert raw.class_names is None  # one vocabulary for both sides


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"length": 1}, "data.options.length: must be at least 2 (a token and the end), got 1"),
        ({"length": 3}, "data 'made': no training pair has at most data.options.length 3 tokens on both sides"),
        ({"vocabulary": 4}, "data.options.vocabulary: 4 is too small for word: 4 special tokens and at least one more"),
        (
            {"tokens": "words"},
            "data.options.tokens: unknown kind of token 'words'; did you mean 'word'? (known: bpe, char, spaces, word)",
        ),
    ],
)
def test_options_that_leave_nothing_are_one_line(options, line):
    with pytest.raises(DataError) as caught:
        made([("a b c", "d e f")] * 20, **options)
    assert str(caught.value) == line


# dates -----------------------------------------------------------------------------------------------------------


def test_a_written_date_says_the_day_that_its_translation_says():
    data = load("dates", pairs=500)
    assert data.task == "translation"
    for x, y in zip(data.test.x, data.test.y, strict=True):
        day = date.fromisoformat("".join(spoken(y.tolist(), data.class_names)))
        assert spoken(x.tolist(), data.symbols) in [way(day) for way in WAYS]
    assert not (data.train.x == UNK).any()
    assert not (data.test.x == UNK).any()


def test_days_of_the_test_split_are_the_same_for_any_number_of_pairs_and_never_trained_on():
    few, many = load("dates", pairs=100), load("dates", pairs=3000)
    assert few.test.x.equal(many.test.x)
    days = [{tuple(row) for row in part.y.tolist()} for part in (many.train, many.test)]
    assert len(days[0]) == 3000
    assert not days[0] & days[1]


def test_numbers_are_said_as_people_say_them():
    said = {
        1900: "nineteen hundred",
        1905: "nineteen oh five",
        2000: "two thousand",
        2007: "two thousand seven",
        2042: "twenty forty two",
        1815: "eighteen fifteen",
        2010: "twenty ten",
    }
    assert {year: " ".join(year_words(year)) for year in said} == said
    said = {1: "first", 12: "twelfth", 20: "twentieth", 22: "twenty second", 31: "thirty first", 19: "nineteenth"}
    assert {day: " ".join(ordinal_words(day)) for day in said} == said


# verses ----------------------------------------------------------------------------------------------------------


def chapters(*texts: str) -> str:
    return json.dumps([{"id": 1, "verses": [{"id": i, "translation": text} for i, text in enumerate(texts)]}])


def test_verses_are_paired_by_chapter_and_verse(tmp_path, monkeypatch):
    folder = tmp_path / "quran-json"
    folder.mkdir()
    (folder / "quran_en.json").write_text(chapters(*(f"verse {i}" for i in range(30)), "alone"))
    (folder / "quran_sv.json").write_text(chapters(*(f"vers {i}" for i in range(30))))
    data = load("verses", root=tmp_path, target_language="sv", tokens="word")
    pairs = {
        tuple(spoken(row.tolist(), names)[0] for row, names in ((x, data.symbols), (y, data.class_names)))
        for x, y in zip(data.train.x, data.train.y, strict=True)
    }
    assert pairs == {("verse", "vers")}
    assert (len(data.train), len(data.test)) == (27, 3)


def test_verses_that_are_not_there_are_one_line(tmp_path):
    with pytest.raises(
        DataError,
        match=r"verses is not on this machine: missing quran_en.json, quran_fr.json; .*"
        r"data.download=true to fetch them from https://cdn.jsdelivr.net/npm/quran",
    ):
        load("verses", root=tmp_path)
    with pytest.raises(DataError, match=r"data.options.target_language: unknown language 'frr'; did you mean 'fr'\?"):
        load("verses", root=tmp_path, target_language="frr")
    (tmp_path / "quran_en.json").write_text("{}")
    (tmp_path / "quran_fr.json").write_text("[1]")
    with pytest.raises(DataError, match=r"quran_fr.json: not a list of chapters with verses and translations"):
        load("verses", root=tmp_path)
    assert all(len(md5) == 32 for md5 in verses.MD5.values())


# catalogues ------------------------------------------------------------------------------------------------------


def catalogue(folder, language, name, messages):
    """A .mo file, as the manual of gettext lays it out: header, tables of lengths and offsets, strings."""
    folder = folder / language / "LC_MESSAGES"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **messages}.items())
    n, at, strings, tables = len(pairs), 28 + 16 * len(pairs), b"", [b"", b""]
    for side in (0, 1):
        for pair in pairs:
            encoded = pair[side].encode()
            tables[side] += struct.pack("<II", len(encoded), at + len(strings))
            strings += encoded + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, n, 28, 28 + 8 * n, 0, 0)
    (folder / f"{name}.mo").write_bytes(header + b"".join(tables) + strings)


def test_catalogues_of_one_language_are_read_and_what_is_no_pair_is_left_out(tmp_path):
    messages = {f"message {chr(97 + i)}": f"meddelande {chr(97 + i)}" for i in range(20)}
    catalogue(
        tmp_path,
        "sv",
        "one",
        messages
        | {"same": "same", "_File": "_Arkiv", "two\nlines": "två\nrader", "100": "100 st", "menu\x04Open": "Öppna"},
    )
    catalogue(tmp_path / "z", "sv", "two", {"message a": "en annan", "only here": "bara här"})
    catalogue(tmp_path, "fr", "one", {"message a": "un"})
    (tmp_path / "sv" / "LC_MESSAGES" / "broken.mo").write_bytes(b"no catalogue")
    data = load("catalogues", language="sv", folder=str(tmp_path), tokens="word")
    rows = [*data.train.y.tolist(), *data.test.y.tolist()]
    assert len(rows) == 21
    assert {"bara", "här", "meddelande"} <= set(data.class_names)
    assert not {"same", "arkiv", "rader", "st", "öppna", "annan", "un"} & set(data.class_names)
    assert gettext.GNUTranslations((tmp_path / "fr/LC_MESSAGES/one.mo").open("rb")).gettext("message a") == "un"


def test_a_machine_without_catalogues_is_told_so_in_one_line(tmp_path):
    with pytest.raises(
        DataError, match=rf"data.options.folder: no gettext catalogue \(\*.mo\) of 'fr' below {tmp_path}"
    ):
        load("catalogues", folder=str(tmp_path))
    catalogue(tmp_path, "fr", "one", {"same": "same"})
    with pytest.raises(DataError, match=r"data.options.language: the 1 catalogues of 'fr' below .* hold no translated"):
        load("catalogues", folder=str(tmp_path))


# what every translation must satisfy -------------------------------------------------------------------------------

WORDS = [*SPECIAL, "a", "b"]
X = np.array([[4, 5, 2]] * 10)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (
            RawData(X, np.array([[4, 5, 5]] * 10), symbols=WORDS),
            "y_train has sequences that are not tokens, the id 2 of",
        ),
        (RawData(X, np.array([[4, 2, 5]] * 10), symbols=WORDS), "y_train has sequences that are not tokens"),
        (RawData(X, np.array([[4, 0, 2]] * 10), symbols=WORDS), "y_train has sequences that are not tokens"),
        (RawData(X, np.array([[0, 0, 0]] * 10), symbols=WORDS), "y_train has sequences that are not tokens"),
        (
            RawData(np.array([[4, 5, 2]] * 7 + [[0, 0, 0]] * 3), X, symbols=WORDS),
            "x_train has sequences without a token, the first in example 7",
        ),
        (
            RawData(np.array([[3, 2]] * 10), np.array([[3, 2]] * 10), symbols=list(SPECIAL)),
            "symbols holds the special tokens alone: there is nothing to read or to write",
        ),
        (
            RawData(X, np.array([[3, 2]] * 10), symbols=WORDS, class_names=list(SPECIAL)),
            "class_names holds the special",
        ),
        (
            RawData(X, X, class_names=WORDS),
            "symbols, the vocabulary of the sources, has to begin with <pad>, <s>, </s>,",
        ),
        (
            RawData(X, X, symbols=WORDS, class_names=["a"] * 6),
            "class_names, the vocabulary of the targets, has to begin",
        ),
        (
            RawData(X, X, symbols=WORDS, class_names=[*SPECIAL, "a"]),
            "y_train holds the token id 5; the vocabulary has ids",
        ),
    ],
)
def test_sources_have_words_targets_end_and_vocabularies_begin_alike(raw, line):
    name = "pairs_that_are_wrong"
    if name not in DATA:
        register_data(name, task="translation")(lambda source: None)
    DATA._entries[name] = lambda source: raw
    with pytest.raises(DataError) as caught:
        load(name)
    assert line in str(caught.value)
