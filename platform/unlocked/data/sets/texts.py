"""Texts for language models, as windows of characters: CPython's own manual, Shakespeare, any file."""

from __future__ import annotations

from pathlib import Path

from unlocked.data.dataset import RawData, register_data
from unlocked.data.source import DataFile, Source
from unlocked.data.text import character_vocabulary, encode_characters, windows
from unlocked.errors import DataError


@register_data("python_manual", task="language_modelling", family="texts")
def python_manual(source: Source, length: int = 64) -> RawData:
    """The manual that comes with every Python (`help("LISTS")` prints from it), about 465,000 characters.

    It changes with the version of Python. The last 20 % are the test split.
    """
    from pydoc_data.topics import topics

    return _characters(source.name, "\n".join(topics[key] for key in sorted(topics)), length)


KARPATHY = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare"


@register_data("shakespeare", task="language_modelling", family="texts")
def shakespeare(source: Source, length: int = 64, mirror: str = KARPATHY) -> RawData:
    """Tiny Shakespeare (Karpathy 2015), 1,115,394 characters; the last 10 % are the test split, as in nanoGPT."""
    text = source.files([DataFile("input.txt", "6fb458f1232090904fb40fe944165e91", ("tinyshakespeare.txt",))],
                        ["shakespeare", "."], mirror)[0].read_text(encoding="utf-8")
    return _characters(source.name, text, length, test=0.1)


@register_data("text", task="language_modelling", family="texts")
def text(source: Source, file: str, length: int = 64) -> RawData:
    """A text file of your own in UTF-8, `data.options.file`, a path or a name in the data folder."""
    path = next((place for place in (Path(file).expanduser(), source.root / file) if place.is_file()), None)
    if path is None:
        raise DataError(f"data.options.file: {file} is no file, here or in {source.root}")
    try:
        return _characters(source.name, path.read_text(encoding="utf-8"), length)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.options.file: {path} cannot be read as UTF-8 text: {error}") from None


def _characters(name: str, text: str, length: int, test: float | None = None) -> RawData:
    if not text:
        raise DataError(f"data {name!r}: the text is empty")
    symbols = character_vocabulary(text)
    cut = len(text) if test is None else round((1 - test) * len(text))
    x, y = windows(name, encode_characters(text[:cut], symbols), length)
    if cut == len(text):
        return RawData(x, y, symbols=symbols, ordered=True)
    x_test, y_test = windows(name, encode_characters(text[cut:], symbols), length)
    return RawData(x, y, x_test, y_test, symbols=symbols, ordered=True)
