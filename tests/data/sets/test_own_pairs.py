"""Pairs and texts from files of one's own: kinds of files and tokens, splits, and faults with their line."""

from __future__ import annotations

import json

import pytest

from unlocked.data.files.looking import kind_of, kinds_of, look_at
from unlocked.data.files.source import Source
from unlocked.data.new.reading import Reading
from unlocked.data.words.text import EOS, UNK
from unlocked.data.words.tokenize import decode, from_json
from unlocked.decoding.translation import source_ids, texts
from unlocked.errors import DataError
from unlocked.tasks import load

WORDS = ["cab", "bad", "dab", "add", "bead", "deaf", "fade", "face", "cafe", "decade"]
SOUNDS = {"a": "AE1", "b": "B", "c": "K", "d": "D", "e": "EH1", "f": "F"}


def said(word: str) -> str:
    return " ".join(SOUNDS[letter] for letter in word)


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name, content: (tmp_path / name).write_text(content, encoding="utf-8") and name


LINES = "".join(f"{word}\t{said(word)}\n" for word in WORDS)
SIDES = {"source_tokens": "char", "target_tokens": "spaces"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.tsv", LINES),
        ("pairs.tsv", "source\ttarget\n" + LINES),
        ("pairs.csv", "target;source\n" + "".join(f'"{said(word)}";{word}\n' for word in WORDS)),
        ("pairs.jsonl", "".join(json.dumps({"source": word, "target": said(word)}) + "\n" for word in WORDS)),
        ("pairs.txt", "# words and sounds\n" + LINES),
    ],
)
def test_words_and_their_sounds_have_a_vocabulary_each(made, name, content):
    data = load("pairs", file=made(name, content), seed=3, **SIDES)
    assert (len(data.train), len(data.test)) == (8, 2)
    assert data.symbols[4:] == list("abcdef")
    assert data.class_names[4:] == sorted(SOUNDS.values())
    written = texts(data.train.y, data)
    sources = [decode(from_json(data.tokenizer), row) for row in data.train.x.tolist()]
    assert sorted(sources) == sorted(set(sources) & set(WORDS))
    assert written == [said(word) for word in sources]
    assert data.train.x[0].tolist().count(EOS) == 1
    reading = Reading.of(data)
    assert reading.stand_in().target_tokenizer == data.target_tokenizer
    assert reading.ids("new", ["dead"]).tolist() == source_ids(["dead"], data).tolist()


def test_one_vocabulary_of_both_sides_and_pairs_that_are_too_long(made):
    file = made("pairs.tsv", "".join(f"a {word} b\tB {word} A\n" for word in WORDS) + "a b c d e f g\tx\n" * 5)
    data = load("pairs", file=file, lowercase=True, length=5)
    assert data.class_names == data.symbols
    assert data.target_tokenizer is None
    assert data.in_shape == (5,)
    assert len(data.train) + len(data.test) == len(WORDS)
    assert set(texts(data.test.y, data)[0].split()) - {"b", "a"} <= set(WORDS) | {"<unk>"}


def test_splits_are_those_of_every_file(made):
    rows = "".join(f"{w}\t{said(w)}\t{'test' if i > 7 else 'train'}\t{i // 2}\n" for i, w in enumerate(WORDS))
    file = made("pairs.tsv", "source\ttarget\tpart\tspeaker\n" + rows)
    data = load("pairs", file=file, split="part", **SIDES)
    assert texts(data.test.y, data) == [said(word) for word in WORDS[8:]]
    folds = [texts(load("pairs", file=file, folds=5, fold=k, **SIDES).test.y, data) for k in range(5)]
    assert sorted(each for part in folds for each in part) == sorted(map(said, WORDS))
    group = load("pairs", file=file, group="speaker", test=0.4, validation=0.25, **SIDES)
    held = [set(texts(part.y, data)) for part in (group.train, group.validation, group.test)]
    for i in range(0, 10, 2):
        assert sum(bool({said(w) for w in WORDS[i : i + 2]} & part) for part in held) == 1
    own = load("pairs", file=file, test=made("more.tsv", "gab\tG AE1 B\n"), **SIDES)
    assert (len(own.train), own.test.y[0].tolist()[:2]) == (10, [UNK, own.class_names.index("AE1")])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.tsv", "\n", "empty.tsv: is empty"),
        ("torn.tsv", "a\tb\nc\n", "torn.tsv, line 2: has 1 of the 2 values that the first line has"),
        ("blank.tsv", "a\tb\n\nc\t \n", "blank.tsv, line 3: the target is empty"),
        ("one.tsv", "a\nb\n", "one.tsv has no header, and no column 'target' among its 1"),
        ("other.tsv", "source\tto\na\tb\n", "has no column 'target' (it has 'source', 'to'); name it by"),
        ("twice.csv", "source,target,source\na,b,c\n", "twice.csv: has the column 'source' twice"),
        ("head.csv", "source,target\n", "head.csv: has a header and no rows"),
        ("quote.csv", 'a,b\n"c,d\n', "quote.csv, line 2: cannot be read as a table: unexpected end of data"),
        ("list.jsonl", '{"source": "a", "target": "b"}\n[1]\n', "list.jsonl, line 2: holds a list, not an object"),
        ("odd.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"}\n', "odd.jsonl, line 2: lacks 'target'"),
        ("torn.jsonl", '{"source": "a", \n', "torn.jsonl, line 1: is no JSON"),
        (
            "half.jsonl",
            '{"source": "a", "target": "b"}\n{"source": "\\ud800", "target": "b"}\n',
            "half.jsonl, line 2: holds half of a letter",
        ),
        ("a" * 300 + ".tsv", None, "cannot be looked for: "),
        (
            "long.tsv",
            "a\tb\n" * 9 + "a b\t" + "x " * 2000 + "\n",
            "long.tsv, line 10: the target has 2,000 tokens; say",
        ),
    ],
)
def test_a_fault_is_one_line_with_its_place(made, name, content, words):
    with pytest.raises(DataError) as refused:
        load("pairs", file=name if content is None else made(name, content), test=0.1, seed=1)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_pairs_that_are_all_too_long_are_told(made):
    with pytest.raises(DataError, match=r"no train pair has at most data\.options\.length 2 tokens"):
        load("pairs", file=made("long.tsv", "a b c d\ta b c d\n" * 10), tokens="spaces", length=2)


def test_a_tokeniser_that_was_trained_before_is_taken(made, tmp_path):
    text = load("text", file=made("my.txt", "a bee did dab a bad bead " * 30), length=8, tokens="word")
    made("tokenizer.json", text.tokenizer)
    data = load("pairs", file=made("pairs.tsv", "a bee\tdid dab\n" * 9 + "a zebra\tbad\n"), tokens="tokenizer.json")
    assert (data.symbols, data.tokenizer) == (text.symbols, text.tokenizer)
    made("odd.json", "{}")
    with pytest.raises(
        DataError, match=r"data\.options\.tokens: odd\.json: cannot be read as a tokenizer's JSON"
    ) as refused:
        load("text", file="my.txt", tokens="odd.json")
    assert "\n" not in str(refused.value)


def test_another_encoding_is_told_with_its_line(made, tmp_path):
    (tmp_path / "old.tsv").write_bytes("a\tb\nc\tdéjà\n".encode("latin-1"))
    for name, options in (("pairs", {}), ("text", {})):
        with pytest.raises(DataError, match=r"old\.tsv, line 2: cannot be read as UTF-8 text; save the file as UTF-8"):
            load(name, file="old.tsv", **options)


def test_a_text_has_a_test_share_or_a_file_of_its_own(made):
    file = made("my.txt", "abcdefgh" * 101)
    whole = load("text", file=file, length=8)
    assert (len(whole.train), len(whole.test)) == (80, 20)
    assert len(load("text", file=file, length=8, test=0.1).test) == 10
    assert len(load("text", file=file, length=8, test=0.1, validation=0.1).validation) == 9
    more = made("more.txt", "hgfedcba" * 101)
    own = load("text", file=file, length=8, test=made("test.txt", "xyz" * 20), validation_file=more, validation=0.1)
    assert (len(own.train), len(own.test), len(own.validation)) == (100, 7, 100)
    assert own.symbols[4:] == list("abcdefghxyz")
    with pytest.raises(DataError, match=r"data\.options\.test: 0\.001 of the 100 windows"):
        load("text", file=file, length=8, test=0.001)
    with pytest.raises(DataError, match=r"data\.options\.test: no\.txt is no file"):
        load("text", file=file, test="no.txt")


def looked(path, **options):
    kind = kind_of(path)
    return kind, look_at(Source(kind, path.parent), path, kind, options)


def test_files_of_pairs_and_texts_are_looked_at_and_their_configurations_load(made, tmp_path):
    made("words.tsv", LINES)
    kind, look = looked(tmp_path / "words.tsv")
    assert (kind, look.counts) == ("pairs", {"pairs": 10})
    assert look.config["data"]["options"] | {"file": ""} == {"file": "", **SIDES}
    assert look.tables["the first"][0] == {"source": "cab", "target": "K AE1 B"}
    made(
        "twice.jsonl", "".join(json.dumps({"source": f"ein Hund {i % 4}", "target": "a dog"}) + "\n" for i in range(8))
    )
    kind, look = looked(tmp_path / "twice.jsonl")
    assert look.config["data"]["options"]["tokens"] == "spaces"
    assert look.notes == ["4 sources are there more than once: group=source keeps each in one split"]
    made("my.txt", "abcdefgh" * 101)
    kind, look = looked(tmp_path / "my.txt", length=8)
    assert (kind, look.counts["windows of 8"], look.counts["different"]) == ("text", 100, 8)
    for name, options in (("words.tsv", {}), ("my.txt", {"length": 8})):
        data = dict(looked(tmp_path / name, **options)[1].config["data"])
        del data["batch_size"]
        assert len(load(data.pop("name"), **data.pop("options"), **data).test)
    made("numbers.tsv", "1\t2\n3\t4\n")
    assert "pairs" not in kinds_of(tmp_path / "numbers.tsv")
