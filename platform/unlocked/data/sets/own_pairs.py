"""Pairs of one's own, a source and its target: sentences and translations, words and sounds, questions and answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.looking import Look, register_look
from unlocked.data.files.source import Source
from unlocked.data.files.text_rows import JSON_LINES, TextRows, located, read_rows
from unlocked.data.splits import Parts, Splits, with_splits
from unlocked.data.words import tokenize
from unlocked.data.words.pairs import ended
from unlocked.errors import DataError
from unlocked.numerals import is_number

LONGEST = 1000  # tokens of a side, unless `length` says more
MOST_SIGNS = 200  # between blanks, of what is no text of words


@dataclass(frozen=True)
class Sides:
    """Sources and targets of a file, and what its other columns say."""

    rows: TextRows
    sources: list[str]
    targets: list[str]


@register_data("pairs", task="translation", family="pairs")
@with_splits(without=("time",))
def pairs(
    source: Source,
    splits: Splits,
    file: str,
    source_column: str = "source",
    target_column: str = "target",
    tokens: str = "word",
    vocabulary: int | None = None,
    source_tokens: str | None = None,
    target_tokens: str | None = None,
    length: int | None = None,
    lowercase: bool = False,
    separator: str = "",
) -> RawData:
    """A source and a target in each line: `file=pairs.tsv`, .csv, or .jsonl with objects; columns by name if the first
    line names one of them, else the first two.

    `tokens` of both sides: spaces (what stands between blanks), char, word or bpe, of one `vocabulary`, learned from
    the training pairs, or a tokenizer.json that was trained before. `source_tokens` and `target_tokens`: another kind
    for one side; then each has a vocabulary of its own. Pairs with a side of more than `length` tokens, </s> among
    them, are left out (null: all are kept). `separator`: comma, semicolon, tab, bar or blank, if it is not the one that
    the file seems to have.
    """
    if length is not None and length < 2:
        raise DataError(f"data.options.length: must be at least 2 (a token and the end), got {length}")

    def read(option: str, name: str) -> Sides:
        return read_pairs(located(source, option, name), option, source_column, target_column, separator, lowercase)

    whole = read("file", file)
    parts = _parts(source, splits, whole)
    own = {"test": splits.test_file, "validation": splits.validation_file}
    sides = {"train": _of(whole, parts.train)}
    for part in ("test", "validation"):
        if (name := own[part]) is not None:
            option = "test" if part == "test" else "validation_file"
            other = read(option, name)
            sides[part] = _of(other, np.arange(len(other.sources)))
        elif (rows := getattr(parts, part)) is not None:
            sides[part] = _of(whole, rows)
    kinds = source_tokens or tokens, target_tokens or tokens
    tokenizers = _fitted(source.name, kinds, sides["train"], vocabulary, lowercase, source_tokens or target_tokens)
    ids = {
        part: [[tokenize.encode(t, text) for text in texts] for t, texts in zip(tokenizers, each, strict=True)]
        for part, each in sides.items()
    }
    kept = {part: _fitting(each, length) for part, each in ids.items()}
    if length is None:
        _refuse_giants(whole, parts, ids["train"])
    arrays: dict[str, Any] = {}
    for name, side in (("x", 0), ("y", 1)):
        longest = max((len(each[side][i]) for part, each in ids.items() for i in kept[part]), default=0) + 1
        for part, each in ids.items():
            if not kept[part]:
                most = "a token" if length is None else f"at most data.options.length {length} tokens"
                raise DataError(f"data {source.name!r}: no {part} pair has {most} on both sides")
            arrays[f"{name}_{part}"] = ended([each[side][i] for i in kept[part]], length or longest)
    of_x, of_y = tokenizers
    held: dict[str, Any] = {key: None if each is None else each[kept["train"]] for key, each in parts.held().items()}
    return RawData(
        **arrays,
        **held,
        symbols=tokenize.symbols(of_x),
        class_names=None if of_x is of_y else tokenize.symbols(of_y),
        tokenizer=of_x.to_str(),
        target_tokenizer=None if of_x is of_y else of_y.to_str(),
        text_column=source_column,
    )


def read_pairs(
    path: Path, option: str, source_column: str, target_column: str, separator: str, lowercase: bool
) -> Sides:
    """Raises `DataError`, with the line, for a side that is empty."""
    rows = read_rows(path, option, (source_column, target_column), separator)
    both = []
    for at, (column, key) in enumerate(((source_column, "source_column"), (target_column, "target_column"))):
        texts = rows.column(column, key, at)
        empty = next((i for i, text in enumerate(texts) if not text), None)
        if empty is not None:
            raise rows.refuse(empty, f"the {('source', 'target')[at]} is empty")
        both.append([text.lower() for text in texts] if lowercase else texts)
    return Sides(rows, *both)


def _parts(source: Source, splits: Splits, whole: Sides) -> Parts:
    rows = whole.rows
    columns = {
        key: None if name is None else np.array(rows.column(name, key))
        for key, name in (("split", splits.split), ("group", splits.group))
    }
    return splits.parts(source, len(rows.rows), where=rows.where, **columns)


def _of(sides: Sides, rows: np.ndarray) -> tuple[list[str], list[str]]:
    return [sides.sources[i] for i in rows], [sides.targets[i] for i in rows]


def _fitted(
    name: str,
    kinds: tuple[str, str],
    train: tuple[list[str], list[str]],
    vocabulary: int | None,
    lowercase: bool,
    apart: str | None,
) -> tuple[Tokenizer, Tokenizer]:
    """Of sources and targets: one, fitted to both, unless a side has a kind of its own."""

    def fit(kind: str, lines: list[str]) -> Tokenizer:
        return tokenize.fit(name, kind, ("" if kind == "char" else "\n").join(lines), vocabulary)

    if apart is None:
        one = fit(kinds[0], [*train[0], *train[1]])
        both = one, one
    else:
        both = fit(kinds[0], train[0]), fit(kinds[1], train[1])
    if lowercase:
        for each in both:
            own = [] if each.normalizer is None else [each.normalizer]
            each.normalizer = normalizers.Sequence([*own, normalizers.Lowercase()])
    return both


def _fitting(sides: Sequence[Sequence[np.ndarray]], length: int | None) -> list[int]:
    """Pairs that have a token on both sides, and no more than fit."""
    most = length or 10**9
    return [i for i, pair in enumerate(zip(*sides, strict=True)) if all(0 < len(side) < most for side in pair)]


def _refuse_giants(whole: Sides, parts: Parts, ids: Sequence[Sequence[np.ndarray]]) -> None:
    """Every row is filled up to the longest: one line without an end would take all memory."""
    for side, texts in zip(("source", "target"), ids, strict=True):
        longest = max(range(len(texts)), key=lambda i: len(texts[i]))
        if len(texts[longest]) > LONGEST:
            raise whole.rows.refuse(
                int(parts.train[longest]),
                f"the {side} has {len(texts[longest]):,} tokens; say by data.options.length how many are read: longer "
                "pairs are then left out",
            )


def _fits(path: Path) -> int:
    """3: a header or keys say so; 2: lines of two texts with a tab between."""
    if not path.is_file() or path.suffix.lower() not in (".tsv", ".csv", ".txt", *JSON_LINES):
        return 0
    with path.open("rb") as file:
        lines = [line for line in file.read(4096).decode("utf-8", "replace").splitlines() if line.strip()][:5]
    if lines and all(re.search(rf"\b{name}\b", lines[0]) for name in ("source", "target")):
        return 3
    cells = [line.split("\t") for line in lines]
    texts = bool(cells) and all(len(row) == 2 and not any(map(is_number, row)) for row in cells)
    return 2 if texts and path.suffix.lower() != ".csv" else 0


@register_look("pairs", fits=_fits)
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    """How many pairs, how long their sides are, and how each is best cut."""
    first, second = (str(options.get(f"{side}_column", side)) for side in ("source", "target"))
    sides = read_pairs(path, "file", first, second, str(options.get("separator", "")), False)
    given, lengths = dict(options), []
    for side, texts in (("source", sides.sources), ("target", sides.targets)):
        kind = str(given.get(f"{side}_tokens") or given.get("tokens") or _kind(texts))
        given[f"{side}_tokens"] = kind
        many = sorted(len(text) if kind == "char" else len(text.split()) for text in texts)
        lengths.append(
            {
                "side": side,
                "tokens": kind,
                "different texts": len(set(texts)),
                "median length": many[len(many) // 2],
                "longest": many[-1],
            }
        )
    if given["source_tokens"] == given["target_tokens"]:
        given["tokens"] = given.pop("source_tokens")
        del given["target_tokens"]
    shown = [{"source": a, "target": b} for a, b in zip(sides.sources[:3], sides.targets[:3], strict=True)]
    notes = []
    if (again := len(sides.sources) - len(set(sides.sources))) and sides.rows.columns:
        notes.append(f"{again:,} sources are there more than once: group={first} keeps each in one split")
    config = {
        "data": {"name": "pairs", "batch_size": 64, "options": {"file": str(path), **given}},
        "model": {"name": "seq2seq", "cell": "gru", "attention": "bahdanau", "width": 128, "embedding": 64},
        "optimizer": {"name": "adam", "lr": 3.0e-3},
        "train": {"epochs": 10},
    }
    header = "a header" if sides.rows.columns else "no header: the first two columns"
    read_as = f"UTF-8, {'JSON lines' if path.suffix.lower() in JSON_LINES else header}"
    return Look(read_as, {"pairs": len(sides.sources)}, {"sides": lengths, "the first": shown}, notes, config)


def _kind(texts: Sequence[str]) -> str:
    """Of tokens: characters of single words, blanks between few different signs, else words."""
    if sum(" " in text for text in texts) < len(texts) / 2:
        return "char"
    return "spaces" if len({token for text in texts for token in text.split()}) <= MOST_SIGNS else "word"
