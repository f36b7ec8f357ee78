"""Texts for language models, as windows of tokens: CPython's own manual, Shakespeare, any file.

Options of all: `length` of a window in tokens; `tokens`: char, word or bpe; `vocabulary`: how many ids there are
(null: every character, 4000 words, 1000 byte pairs). Words and byte pairs are learned from what is before the test
split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.dataset import TEST_FRACTION, RawData, register_data
from unlocked.data.files.looking import Look, register_look
from unlocked.data.files.source import DataFile, Source
from unlocked.data.files.text_rows import located, utf8_text
from unlocked.data.splits import Splits, with_splits
from unlocked.data.words.text import windows
from unlocked.data.words.tokenize import encode, fit, symbols
from unlocked.errors import DataError


def manual() -> dict[str, str]:
    """The manual that comes with every Python (`help("LISTS")` prints from it), by topic, in the order of their names;
    about 465,000 characters, which change with the version of Python."""
    from pydoc_data.topics import topics

    return {key: topics[key] for key in sorted(topics)}


@register_data("python_manual", task="language_modelling", family="texts")
def python_manual(source: Source, length: int = 64, tokens: str = "char", vocabulary: int | None = None) -> RawData:
    """The manual that comes with every Python (`manual`). The last 20 % are the test split."""
    return _windows(source.name, "\n".join(manual().values()), length, tokens, vocabulary)


KARPATHY = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"


@register_data("shakespeare", task="language_modelling", family="texts")
def shakespeare(
    source: Source, length: int = 64, tokens: str = "char", vocabulary: int | None = None, mirror: str = KARPATHY
) -> RawData:
    """Tiny Shakespeare (Karpathy 2015), 1,115,394 characters; the last 10 % are the test split, as in nanoGPT."""
    text = source.files(
        [DataFile("input.txt", "6fb458f1232090904fb40fe944165e91", ("tinyshakespeare.txt",))],
        ["shakespeare", "."],
        mirror,
    )[0].read_text(encoding="utf-8-sig")
    return _windows(source.name, text, length, tokens, vocabulary, test=0.1)


@register_data("text", task="language_modelling", family="texts")
@with_splits(without=("split", "folds", "fold", "group", "time"))
def text(
    source: Source, splits: Splits, file: str, length: int = 64, tokens: str = "char", vocabulary: int | None = None
) -> RawData:
    """A text file of your own in UTF-8, `data.options.file`, a path or a name in the data folder.

    `test`: the fraction at its end that is the test split, or a file of its own; `validation_file` likewise.
    """
    whole = utf8_text(located(source, "file", file), "file")
    own = {
        part: utf8_text(located(source, option, name), option)
        for part, option, name in (
            ("test", "test", splits.test_file),
            ("validation", "validation_file", splits.validation_file),
        )
        if name is not None
    }
    fraction = 0.0 if isinstance(splits.test, str) else splits.test
    learned = whole[: round((1 - fraction) * len(whole))]
    # characters: of all splits, or a single one of the test split would have no id
    tokenizer = fit(source.name, tokens, "".join([whole, *own.values()]) if tokens == "char" else learned, vocabulary)
    x, y = windows(source.name, encode(tokenizer, whole), length)
    arrays: dict[str, Any] = {"x_train": x, "y_train": y}
    if fraction:
        aside = round(fraction * len(x))
        if not 0 < aside < len(x):
            raise DataError(
                f"data.options.test: {fraction:g} of the {len(x)} windows of {length} tokens in {file} cannot be set "
                "aside"
            )
        arrays = {"x_train": x[:-aside], "y_train": y[:-aside], "x_test": x[-aside:], "y_test": y[-aside:]}
    for part, content in own.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = windows(source.name, encode(tokenizer, content), length)
    return RawData(**arrays, symbols=symbols(tokenizer), ordered=True, tokenizer=tokenizer.to_str())


def _windows(
    name: str, text: str, length: int, tokens: str, vocabulary: int | None, test: float | None = None
) -> RawData:
    """`test`: the fraction at the end that is the set's own test split; None: the one that every set is given."""
    cut = round((1 - (test or TEST_FRACTION)) * len(text))
    # characters: of the whole text, or a single one of the test split would have no id
    tokenizer = fit(name, tokens, text if tokens == "char" else text[:cut], vocabulary)
    raw = RawData(
        *windows(name, encode(tokenizer, text if test is None else text[:cut]), length),
        symbols=symbols(tokenizer),
        ordered=True,
        tokenizer=tokenizer.to_str(),
    )
    if test is None:
        return raw
    x_test, y_test = windows(name, encode(tokenizer, text[cut:]), length)
    return replace(raw, x_test=x_test, y_test=y_test)


@register_look(
    "text", fits=lambda path: 2 * (path.is_file() and path.suffix.lower() in (".txt", ".md", ".rst", ".text"))
)
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    """How long it is in characters and tokens, and what is in it most often."""
    given = {"tokens": "char", "length": 64, "test": 0.1, **options}
    content = utf8_text(path, "file")
    tokenizer = fit(source.name, given["tokens"], content, given.get("vocabulary"))
    ids = encode(tokenizer, content)
    names = symbols(tokenizer)
    number = np.bincount(ids, minlength=len(names))
    most = [{"token": repr(names[i]), "count": int(number[i])} for i in np.argsort(-number, kind="stable")[:10]]
    counts = {"characters": len(content), "lines": content.count("\n") + 1, "words": len(content.split())}
    counts |= {f"tokens ({given['tokens']})": len(ids), "different": int((number > 0).sum())}
    counts |= {f"windows of {given['length']}": max(0, (len(ids) - 1) // given["length"])}
    rare = int((number == 1).sum())
    notes = [f"tokens that are there once: {rare}; a share of them is in the test split alone"] if rare else []
    config = {
        "data": {"name": "text", "batch_size": 32, "options": {"file": str(path), **given}},
        "model": {"name": "gpt", "width": 64, "depth": 2, "heads": 4},
        "optimizer": {"name": "adam", "lr": 2.0e-3},
        "train": {"epochs": 5},
    }
    return Look(f"UTF-8 text, {path.stat().st_size:,} bytes", counts, {"most often": most}, notes, config)
