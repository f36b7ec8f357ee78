"""Tokenisers: text as ids and back, by characters, words or byte pairs, on the `tokenizers` library.

    spaces  what stands between blanks; nothing is cut and nothing joined
    char  every character by itself
    word  runs of letters and digits, and runs of other signs; the most frequent ones, the rest is unknown
    bpe   byte-pair encoding (Sennrich et al. 2016) over bytes (Radford et al. 2019): nothing is unknown

The ids of every vocabulary begin with `data.text.SPECIAL`. A tokeniser is kept as the library's JSON
(`DataSet.tokenizer`), so a text that is generated later is read and written with the ids that a network was trained on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from unlocked.data.words import foreign
from unlocked.data.words.text import BOS, EOS, PAD, SPECIAL, UNK
from unlocked.errors import DataError, reason
from unlocked_models.contract.registry import unknown

BYTES = 256


def fit(name: str, kind: str, text: str, vocabulary: int | None = None, extra: Sequence[str] = ()) -> Tokenizer:
    """A tokeniser of `kind` for `text`; the same for the same text.

    Args:
        name: of the data set, for messages.
        kind: one of `KINDS`, or a file of one that was trained before, `tokenizer.json` of a run or of another program;
            nothing is then learned.
        vocabulary: ids in all; null: every character of the text, all that stands between blanks, 4000 for words, 1000
            for byte pairs.
        extra: special tokens after the four that every vocabulary has.

    Raises `DataError` for a kind that is not known, an empty text, and a vocabulary that leaves no room.
    """
    if kind.endswith(".json"):
        return _from_file(Path(kind).expanduser())
    if kind not in KINDS:
        raise DataError(f"data.options.tokens: {unknown('kind of token', kind, list(KINDS))}")
    if not text.strip():
        raise DataError(f"data {name!r}: the text is empty")
    special = [*SPECIAL, *extra]
    least = len(special) + (BYTES if kind == "bpe" else 0) + 1
    if vocabulary is not None and vocabulary < least:
        what = f"{len(special)} special tokens" + (f", {BYTES} bytes" if kind == "bpe" else "")
        raise DataError(f"data.options.vocabulary: {vocabulary} is too small for {kind}: {what} and at least one more")
    return _as_written(KINDS[kind](text, vocabulary, special))


def of_words(symbols: Sequence[str]) -> Tokenizer:
    """Of a list of words in small letters that begins with `SPECIAL`; a text has them with blanks between."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(symbols)}, unk_token=SPECIAL[UNK]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _as_written(tokenizer)


def from_json(stored: str) -> Tokenizer:
    return _as_written(Tokenizer.from_str(stored))


def symbols(tokenizer: Tokenizer) -> list[str]:
    """By id, the token that it stands for."""
    by_id = {i: token for token, i in tokenizer.get_vocab().items()}
    return [by_id[i] for i in range(len(by_id))]


def encode(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Ids `(tokens,)` int64; what the vocabulary lacks is `UNK`."""
    return np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)


def unknown_in(tokenizer: Tokenizer, text: str) -> list[str]:
    """The pieces of a text that are `UNK`, each once, in their order."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    pieces = [text[a:b] for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if i == UNK]
    return list(dict.fromkeys(pieces))


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of ids, without the first special tokens; words are put one space apart."""
    return tokenizer.decode([i for i in map(int, ids) if i >= len(SPECIAL)], skip_special_tokens=False)


def sequences(parts: Sequence[Sequence[np.ndarray]], length: int) -> np.ndarray:
    """Rows `(n, length)` of `BOS part EOS`, or `BOS part EOS part EOS`, cut at `length` and filled up with `PAD`."""
    rows = np.full((len(parts), length), PAD, dtype=np.int64)
    for row, each in zip(rows, parts, strict=True):
        ids = np.concatenate([[BOS], *([*part, EOS] for part in each)])[:length]
        row[: len(ids)] = ids
    return rows


def _from_file(path: Path) -> Tokenizer:
    """One that was trained before, in the library's JSON: that of a run, or any other (`data.words.foreign`)."""
    try:
        stored = foreign.read(path)
        tokenizer = Tokenizer.from_str(stored)
        if not _is_ours(tokenizer):
            tokenizer = foreign.foreign(stored)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library's Rust is no Exception
        raise DataError(f"data.options.tokens: {path}: cannot be read as a tokenizer's JSON: {reason(error)}") from None
    if not _is_ours(tokenizer):
        raise DataError(
            f"data.options.tokens: {path}: its ids cannot be put after {', '.join(SPECIAL)}, with which every "
            "vocabulary here begins; train one by tokens=bpe, say"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _as_written(tokenizer)


def _is_ours(tokenizer: Tokenizer) -> bool:
    first = [tokenizer.id_to_token(i) for i in range(len(SPECIAL))]
    known = sorted(tokenizer.get_vocab().values())
    return first == list(SPECIAL) and known == list(range(len(known)))


def _as_written(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True  # a text in which "</s>" is written does not end there
    return tokenizer


def _characters(text: str, vocabulary: int | None, special: list[str]) -> Tokenizer:
    found = Counter(text).most_common(None if vocabulary is None else vocabulary - len(special))
    tokens = [*special, *sorted(character for character, _ in found)]
    # byte pairs that are never merged: twice as fast as words of one letter
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token=SPECIAL[UNK]))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _between_blanks(text: str, vocabulary: int | None, special: list[str]) -> Tokenizer:
    found = Counter(text.split()).most_common(None if vocabulary is None else vocabulary - len(special))
    tokens = [*special, *sorted(token for token, _ in found if token not in special)]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=SPECIAL[UNK]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    written = "|".join(map(re.escape, special))  # "</s>" between blanks is no end: it becomes another word
    tokenizer.normalizer = normalizers.Replace(Regex(rf"(?<!\S)(?=(?:{written})(?!\S))"), foreign.NO_SIGN)
    return tokenizer


def _words(text: str, vocabulary: int | None, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({}, unk_token=SPECIAL[UNK]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary or 4000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def _byte_pairs(text: str, vocabulary: int | None, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary or 1000,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


KINDS: dict[str, Callable[[str, int | None, list[str]], Tokenizer]] = {
    "spaces": _between_blanks,
    "char": _characters,
    "word": _words,
    "bpe": _byte_pairs,
}
