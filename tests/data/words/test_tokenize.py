"""Tokenisers: ids that begin alike, texts that come back, what is unknown, what is refused."""

import pytest

from unlocked.data.words.text import BOS, EOS, PAD, SPECIAL, UNK
from unlocked.data.words.tokenize import KINDS, decode, encode, fit, from_json, sequences, symbols, unknown_in
from unlocked.errors import DataError
from unlocked.tasks import load

TEXT = "To be, or not to be:\nthat is the question. </s> <mask> é\t\n" * 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_vocabulary_begins_with_the_special_tokens(kind):
    tokenizer = fit("made", kind, TEXT, extra=["<mask>"])
    names = symbols(tokenizer)
    assert names[:5] == [*SPECIAL, "<mask>"]
    assert len(set(names)) == len(names)
    assert symbols(fit("made", kind, TEXT, extra=["<mask>"])) == names  # the same for the same text


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_writes_special_tokens_has_none(kind):
    ids = encode(fit("made", kind, TEXT, extra=["<mask>"]), "be </s> <mask> <pad>")
    assert not {PAD, BOS, EOS, 4} & set(ids.tolist())


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_characters_and_byte_pairs_come_back_as_they_were(kind):
    tokenizer = fit("made", kind, TEXT)
    ids = encode(tokenizer, TEXT)
    assert decode(tokenizer, ids) == TEXT
    kept = from_json(tokenizer.to_str())
    assert (encode(kept, TEXT) == ids).all()
    assert decode(kept, [PAD, BOS, *ids, EOS, PAD]) == TEXT


def test_words_come_back_one_space_apart():
    tokenizer = fit("made", "word", TEXT)
    assert decode(tokenizer, encode(tokenizer, "to be, or  not\nto be")) == "to be , or not to be"


def test_characters_are_numbered_in_their_order_and_what_is_lacking_is_unknown():
    tokenizer = fit("made", "char", "abca")
    assert encode(tokenizer, "cabz").tolist() == [6, 4, 5, UNK]
    assert unknown_in(tokenizer, "cazbyz") == ["z", "y"]


def test_words_that_are_rare_are_unknown():
    tokenizer = fit("made", "word", "a a a b b c", vocabulary=len(SPECIAL) + 2)
    assert encode(tokenizer, "b c a d").tolist() == [5, UNK, 4, UNK]
    assert unknown_in(tokenizer, "b c a d") == ["c", "d"]


def test_rare_characters_are_unknown_too():
    tokenizer = fit("made", "char", "zzzyya", vocabulary=len(SPECIAL) + 2)
    assert encode(tokenizer, "ayz").tolist() == [UNK, 4, 5]


def test_byte_pairs_know_every_text_and_merge_what_is_frequent():
    tokenizer = fit("made", "bpe", "banana " * 50, vocabulary=len(SPECIAL) + 256 + 4)
    assert unknown_in(tokenizer, "日本 é") == []
    assert decode(tokenizer, encode(tokenizer, "日本 é")) == "日本 é"
    assert len(encode(tokenizer, "banana")) < 6


def test_sequences_are_framed_cut_and_filled_up():
    tokenizer = fit("made", "char", "abc")
    a, b = encode(tokenizer, "abc"), encode(tokenizer, "b")
    assert sequences([[a], [b, a]], 7).tolist() == [[BOS, 4, 5, 6, EOS, PAD, PAD], [BOS, 5, EOS, 4, 5, 6, EOS]]
    assert sequences([[a]], 3).tolist() == [[BOS, 4, 5]]


@pytest.mark.parametrize("tokens", ["word", "bpe"])
def test_a_text_is_read_in_words_or_byte_pairs(tmp_path, tokens):
    (tmp_path / "mine.txt").write_text("to be or not to be, " * 90 + "that is the question " * 10, encoding="utf-8")
    data = load("text", root=tmp_path, file="mine.txt", length=4, tokens=tokens)
    assert data.example.vocabulary == data.n_outputs == len(data.symbols)
    tokenizer = from_json(data.tokenizer)
    assert symbols(tokenizer) == data.symbols
    assert decode(tokenizer, data.train.x[0]).startswith("to be")
    if tokens == "word":
        assert "question" not in data.symbols  # it stands in the test split alone
        assert (data.test.x == UNK).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": "words"}, "data.options.tokens: unknown kind of token 'words'; did you mean 'word'?"),
        (
            {"tokens": "bpe", "vocabulary": 100},
            "data.options.vocabulary: 100 is too small for bpe: 4 special tokens, 256",
        ),
        ({"tokens": "word", "vocabulary": 4}, "data.options.vocabulary: 4 is too small for word"),
        ({"vocabulary": 0}, "data.options.vocabulary: 0 is too small for char"),
    ],
)
def test_wrong_tokens_are_one_line(tmp_path, options, said):
    (tmp_path / "mine.txt").write_text("to be or not to be " * 40, encoding="utf-8")
    with pytest.raises(DataError) as error:
        load("text", root=tmp_path, file="mine.txt", **options)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_text_is_refused(kind):
    with pytest.raises(DataError, match="data 'made': the text is empty"):
        fit("made", kind, " \n")
