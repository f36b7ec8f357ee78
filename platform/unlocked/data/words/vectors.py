"""Word vectors as a text file, in the format of word2vec: a line `words width`, then one line `word v_1 ... v_width`
for each word. Files without the first line (GloVe's) are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from unlocked.data.words.text import SPECIAL
from unlocked.errors import DataError
from unlocked.files import write_whole
from unlocked.numerals import is_number


def write_vectors(path: Path, symbols: Sequence[str], vectors: Tensor) -> Path:
    """All words but the special tokens. Blanks in a word become `_`; one more ends it if another word is called so."""
    rows = vectors.detach().double().cpu().tolist()
    words = list(zip(symbols, rows, strict=True))[len(SPECIAL) :]
    lines = [f"{len(words)} {vectors.shape[1]}"]
    names = _without_blanks([word for word, _ in words])
    lines += [" ".join([name, *(f"{value:.6g}" for value in row)]) for name, (_, row) in zip(names, words, strict=True)]
    try:
        return write_whole(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise DataError(f"vectors: {path} cannot be written: {error.strerror}") from None


def _without_blanks(words: Sequence[str]) -> list[str]:
    """All different, as the format wants them."""
    plain = ["_".join(word.split()) or "_" for word in words]
    taken = {word for word, name in zip(words, plain, strict=True) if word == name}
    for i, word in enumerate(words):
        if word != plain[i]:
            while plain[i] in taken:
                plain[i] += "_"
            taken.add(plain[i])
    return plain


def read_vectors(key: str, path: Path) -> tuple[list[str], np.ndarray]:
    """Words, and their vectors `(words, width)`, float32. Raises `DataError`, with the line, for a file that is not in
    the format; `key` is the option that names it."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        raise DataError(
            f"{key}: {path} is not UTF-8 text; write it in word2vec's text format, not its binary one"
        ) from None
    except OSError as error:
        raise DataError(f"{key}: {path} cannot be read: {error.strerror}") from None
    first = lines[0].split()
    header = tuple(map(int, first)) if len(first) == 2 and all(part.isdecimal() for part in first) else None
    words: list[str] = []
    rows: list[np.ndarray] = []
    seen: dict[str, int] = {}
    for at, line in enumerate(lines[header is not None :], 1 + (header is not None)):
        word, *numbers = line.rstrip().split(" ")
        width = header[1] if header else len(rows[0]) if rows else len(numbers)
        if not word or not numbers or len(numbers) != width:
            wanted = f"a word and {width} numbers" if width else "a word and its numbers"
            raise DataError(f"{key}: {path}, line {at}: expected {wanted}, found {len(line.split())} entries")
        if word in seen:
            raise DataError(f"{key}: {path}, line {at}: {word!r} has a vector in line {seen[word]} already")
        seen[word] = at
        try:
            row = np.array(numbers, dtype=np.float32)
        except ValueError:
            bad = next(text for text in numbers if not is_number(text))
            raise DataError(f"{key}: {path}, line {at}: {bad!r} is not a number") from None
        if not np.isfinite(row).all():
            raise DataError(f"{key}: {path}, line {at}: the vector of {word!r} is not finite")
        words.append(word)
        rows.append(row)
    if header and len(rows) != header[0]:
        raise DataError(f"{key}: {path}, line 1: says {header[0]} words, {len(rows)} lines follow")
    if not rows:
        raise DataError(f"{key}: {path} holds no vectors")
    return words, np.stack(rows)
