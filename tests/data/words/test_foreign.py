"""A tokenizer.json of another program: its pieces, with the ids of here."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from unlocked.data.words.text import BOS, EOS, PAD, SPECIAL, UNK
from unlocked.data.words.tokenize import decode, encode, fit, symbols
from unlocked.errors import DataError

TEXT = "the cat sat on the mat and the rat sat on the cat " * 20


def _bert():
    made = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator([TEXT], trainers.WordPieceTrainer(vocab_size=60, special_tokens=special))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def _gpt2():
    made = Tokenizer(models.BPE(dropout=0.5))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet))
    made.add_special_tokens(["<|endoftext|>"])
    return made


def _t5():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator([TEXT], trainers.UnigramTrainer(vocab_size=40, special_tokens=special, unk_token="<unk>"))
    return made


def _words():
    made = Tokenizer(models.WordLevel({"[UNK]": 7, "the": 2, "cat": 3, "</s>": 4, "sat": 9}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


@pytest.fixture
def stored(tmp_path):
    def store(made, **fields):
        path = tmp_path / "theirs.json"
        path.write_text(json.dumps(json.loads(made.to_str()) | fields), encoding="utf-8")
        return str(path)

    return store


@pytest.mark.parametrize("make", [_bert, _gpt2, _t5, _words])
def test_pieces_are_theirs_and_ids_are_ours(make, stored):
    theirs = make()
    theirs.enable_truncation(3)
    theirs.enable_padding(length=50)
    ours = fit("made", stored(theirs), TEXT)
    assert symbols(ours)[:4] == list(SPECIAL)
    theirs = make()
    if make is _gpt2:
        theirs.model.dropout = None
    words = "the cat sat" if make is _words else "the cat sat on a mat"
    pieces = theirs.encode(words, add_special_tokens=False)
    assert [symbols(ours)[i] for i in encode(ours, words)] == pieces.tokens
    assert decode(ours, encode(ours, words)) == words
    written = encode(ours, "the </s> <s>cat<pad> [UNK] [CLS]")
    assert not {PAD, BOS, EOS} & set(written.tolist())
    assert (encode(ours, "\u732b") == UNK).any() == (make is not _gpt2)


def test_a_model_that_is_none_of_the_four_and_a_giant_are_told(stored, monkeypatch):
    strange = stored(_words(), model={"type": "Code", "vocab": {}})
    with pytest.raises(DataError, match=r"data\.options\.tokens: .*cannot be read as a tokenizer's JSON"):
        fit("made", strange, TEXT)
    monkeypatch.setattr("unlocked.data.words.foreign.MOST_BYTES", 10)
    with pytest.raises(DataError, match="it is larger than 0 MB, which no vocabulary needs"):
        fit("made", strange, TEXT)
