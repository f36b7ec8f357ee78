"""Documents that every Python holds, for models that read text: docstrings by package, and pairs of the manual's
sentences.

Both are made of what the interpreter comes with, need no network, and change with its version. With
`vocabulary_of: manual` the ids of `docstrings` are those of `manual_pairs`, so that a network pre-trained on the one
can go on with the other.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.dataset import TEST_FRACTION, RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.sets.texts import manual
from unlocked.data.transforms.masking import Masking
from unlocked.data.words.text import SPECIAL
from unlocked.errors import DataError
from unlocked.seeding import derive_seed
from unlocked_models.contract.registry import unknown

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
SIGNS = ("<mask>", "<next>", "<other>")  # of BERT's pre-training, after the special tokens of every vocabulary
MASK, NEXT, OTHER = range(len(SPECIAL), len(SPECIAL) + len(SIGNS))


@register_data("docstrings", task="classification", family="texts")
def docstrings(
    source: Source,
    length: int = 64,
    tokens: str = "word",
    vocabulary: int | None = None,
    vocabulary_of: str = "docstrings",
) -> RawData:
    """From the docstring of a module, class or function of the standard library to its package, one of eight.

    About 1,900 texts of 1 to some hundred words; those longer than `length` tokens are cut. Rows are
    `<s> tokens </s>`, filled up with 0. `tokens`, `vocabulary`: as for texts. `vocabulary_of`: docstrings, or manual,
    with the ids of `manual_pairs`. A docstring that stands in several packages is left out.
    """
    from unlocked.data.words.tokenize import encode, fit, sequences, symbols

    if length < 3:
        raise DataError(f"data.options.length: must be at least 3 (a beginning, a token and an end), got {length}")
    library = Path(sysconfig.get_paths()["stdlib"])
    texts = {package: sorted(set(_docstrings(library / package))) for package in PACKAGES}
    every = [text for found in texts.values() for text in found]
    several = {text for text, times in Counter(every).items() if times > 1}
    rows = [(text, label) for label, package in enumerate(PACKAGES) for text in texts[package] if text not in several]
    if vocabulary_of == "manual":
        tokenizer = _manual_tokenizer(source.name, tokens, vocabulary)
    elif vocabulary_of == "docstrings":
        tokenizer = fit(source.name, tokens, "\n\n".join(text for text, _ in rows), vocabulary)
    else:
        raise DataError(f"data.options.vocabulary_of: {unknown('text', vocabulary_of, ['docstrings', 'manual'])}")
    x = sequences([[encode(tokenizer, text)] for text, _ in rows], length)
    return RawData(
        x,
        np.array([label for _, label in rows]),
        class_names=PACKAGES,
        symbols=symbols(tokenizer),
        tokenizer=tokenizer.to_str(),
    )


@register_data("manual_pairs", task="masked_language_modelling", family="texts")
def manual_pairs(
    source: Source, length: int = 64, tokens: str = "word", vocabulary: int | None = None, asked: float = 0.15
) -> RawData:
    """BERT's pre-training on the manual that comes with every Python (Devlin et al. 2019, appendix A.2).

    Rows are `<s> A </s> B </s>`, filled up with 0: A and B are whole sentences of one topic (longer ones are cut) that
    fill about half a row each. For half of the rows B follows A in the text, for the other half it is drawn from
    another topic; which, is asked for at the first position, as the token `<next>` or `<other>`. Words are hidden anew
    in every minibatch (the transform `masking`), a share of `asked`, and once for all in the validation and test split,
    which is the last 20 % of the topics. (Devlin et al. ask for 15 %; Wettig et al. 2023, arXiv:2202.08005, argue for
    more.)
    """
    from unlocked.data.words.tokenize import symbols

    if length < 8:
        raise DataError(f"data.options.length: must be at least 8 (two sentences and three signs), got {length}")
    if not 0 < asked <= 1:
        raise DataError(f"data.options.asked: must be a share greater than 0 and at most 1, got {asked}")
    tokenizer = _manual_tokenizer(source.name, tokens, vocabulary)
    train, test = _topics()
    x, y = _rows(tokenizer, train, length, "train")
    x_test, y_test = _rows(tokenizer, test, length, "test")
    names = symbols(tokenizer)
    return RawData(
        x,
        y,
        x_test,
        y_test,
        symbols=names,
        ordered=True,
        tokenizer=tokenizer.to_str(),
        transforms=[Masking(MASK, len(SPECIAL) + len(SIGNS), len(names), asked)],
    )


def _rows(tokenizer: Any, topics: list[str], length: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    from unlocked.data.words.tokenize import sequences

    pairs, follows = _pairs([_segments(tokenizer, text, (length - 3) // 2) for text in topics], part)
    y = np.zeros((len(pairs), length), dtype=np.int64)
    y[:, 0] = np.where(follows, NEXT, OTHER)
    return sequences(pairs, length), y


def _topics() -> tuple[list[str], list[str]]:
    """Of the training and of the test split."""
    topics = list(manual().values())
    cut = round((1 - TEST_FRACTION) * len(topics))
    return topics[:cut], topics[cut:]


def _manual_tokenizer(name: str, tokens: str, vocabulary: int | None) -> Any:
    """Of the training split of `manual_pairs`; of characters also those of the test split."""
    from unlocked.data.words.tokenize import fit

    train, test = _topics()
    return fit(name, tokens, "\n".join([*train, *test] if tokens == "char" else train), vocabulary, SIGNS)


def _docstrings(package: Path) -> Iterator[str]:
    for file in sorted(package.rglob("*.py")):
        if "test" in file.relative_to(package).parts:
            continue
        for node in _statements(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text:
                    yield text


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The node and the statements in it, at any depth; no expressions, which `ast.walk` spends its time on."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.excepthandler)):
            yield from _statements(child)


def _sentences(text: str) -> list[str]:
    """Of running text: headings, grammar and lists of code are no sentences."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        found += [s for s in re.split(r"(?<=[.!?:])\s+(?=[A-Z(\"])", line) if re.search(r"\w\s+\w+\s+\w.*[.!?:]$", s)]
    return found


def _segments(tokenizer: Any, text: str, most: int) -> list[np.ndarray]:
    """Runs of whole sentences of at most `most` tokens, one after the other."""
    from unlocked.data.words.tokenize import encode

    segments: list[np.ndarray] = []
    for sentence in _sentences(text):
        ids = encode(tokenizer, sentence)[:most]
        if segments and len(segments[-1]) + len(ids) <= most:
            segments[-1] = np.concatenate([segments[-1], ids])
        elif len(ids):
            segments.append(ids)
    return segments


def _pairs(topics: list[list[np.ndarray]], part: str) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Neighbouring segments, of half of them the second exchanged for one of another topic; and which were left."""
    rng = np.random.default_rng(derive_seed(0, "pairs", part))
    topics = [segments for segments in topics if segments]
    size = np.array([len(segments) for segments in topics])
    follows = rng.permutation(np.arange(int((size - 1).sum())) % 2 == 0)
    pairs: list[list[np.ndarray]] = []
    for topic, segments in enumerate(topics):
        weight = np.where(np.arange(len(topics)) == topic, 0, size)
        for a, after in pairwise(segments):
            other = topics[rng.choice(len(topics), p=weight / weight.sum())]
            pairs.append([a, after if follows[len(pairs)] else other[rng.integers(len(other))]])
    return pairs, follows
