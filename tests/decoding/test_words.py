"""Words by their vectors: what is said of a word that has none."""

import pytest
import torch

from unlocked.data.words.text import SPECIAL
from unlocked.decoding.words import Words
from unlocked.errors import ConfigError


def test_an_unknown_word_is_told_words_and_no_punctuation():
    symbols = [*SPECIAL, "(", "the", "__init__", "file"]
    with pytest.raises(ConfigError) as told:
        Words(symbols, torch.eye(len(symbols))).id_of("files")
    assert str(told.value) == "--input: unknown word 'files'; did you mean 'file'? (known: file, the)"
