"""Rows of text from a file of one's own: a table with or without a header, JSON lines, an edge list.

    .csv            separated by commas, or semicolons, tabs or bars if its first line has more of them; quoted cells
    .tsv            by tabs; a quotation mark is a letter like any other
    .jsonl .ndjson  an object in each line
    others          by tabs, else by what a CSV is separated by, else by blanks; lines that begin with # or % are passed

Every fault is one `DataError` that names file and line. Files are data and nothing else: nothing in them is run.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from unlocked.data.files.source import Source
from unlocked.errors import DataError, reason
from unlocked_models.contract.registry import unknown

JSON_LINES = (".jsonl", ".ndjson")
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blank": " "}
_MOST_SHOWN = 20  # columns in a message
_TIMES = 8  # what a text is in memory, over its bytes


@dataclass(frozen=True)
class TextRows:
    """Cells as texts, stripped; `columns` None: the file has no header. `lines`: at which each row begins, from 1."""

    path: Path
    option: str  # that names the file, in messages
    columns: list[str] | None
    rows: list[list[str]]
    lines: list[int]

    def where(self, row: int) -> str:
        return f"data.options.{self.option}: {self.path}, line {self.lines[row]}"

    def refuse(self, row: int, what: str) -> DataError:
        return DataError(f"{self.where(row)}: {what}")

    def place(self, column: str, option: str | None = None, at: int | None = None) -> int:
        """Of a column; without a header the one `at` this place. `option`: by which the column can be named."""
        if self.columns is None:
            width = len(self.rows[0]) if self.rows else 0
            if at is not None and at < width:
                return at
            raise DataError(
                f"data.options.{self.option}: {self.path} has no header, and no column {column!r} among its {width}"
            )
        if column not in self.columns:
            remedy = f"; name it by data.options.{option}" if option else ""
            there = ", ".join(map(repr, self.columns[:_MOST_SHOWN]))
            raise DataError(
                f"data.options.{self.option}: {self.path} has no column {column!r} (it has {there}){remedy}"
            )
        return self.columns.index(column)

    def column(self, column: str, option: str | None = None, at: int | None = None) -> list[str]:
        place = self.place(column, option, at)
        return [row[place] for row in self.rows]


def located(source: Source, option: str, name: str) -> Path:
    """A path, or a name in the data folder."""
    path = source.given(f"data.options.{option}", name, Path.is_file)
    if path is None:
        raise DataError(f"data.options.{option}: {name} is no file, here or in {source.root}")
    return path


def utf8_text(path: Path, option: str) -> str:
    """A whole file; raises `DataError`, with the line, for other encodings, and for one that is empty or too large."""
    what = f"data.options.{option}: {path}"
    try:
        size, free = path.stat().st_size, psutil.virtual_memory().available
        if size * _TIMES > free:
            raise DataError(f"{what}: has {size / 1e9:,.1f} GB, too much for the {free / 1e9:,.1f} GB of free memory")
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{what}, line {line}: cannot be read as UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{what}: cannot be read as UTF-8 text: {reason(error)}") from None
    if not text.strip():
        raise DataError(f"{what}: is empty")
    return text


def read_rows(path: Path, option: str, named: Sequence[str], separator: str = "", least: int = 1) -> TextRows:
    """All rows of a file, at `least` so many after a header. Its first is a header if it has one of the columns
    `named`; `separator`: one of `SEPARATORS` by name, in place of the one that is found."""
    if separator and separator not in SEPARATORS:
        raise DataError(f"data.options.separator: {unknown('separator', separator, list(SEPARATORS))}")
    text = utf8_text(path, option)
    if path.suffix.lower() in JSON_LINES:
        return _of_json(path, option, text)
    what = f"data.options.{option}: {path}"
    rows, lines = _cells(path, what, text, SEPARATORS[separator] if separator else _separator(path, text))
    if not rows:
        raise DataError(f"{what}: has no rows")
    columns = rows[0] if any(name in rows[0] for name in named) else None
    if columns is not None:
        rows, lines = rows[1:], lines[1:]
        twice = next((name for i, name in enumerate(columns) if name in columns[:i]), None)
        if twice is not None:
            raise DataError(f"{what}: has the column {twice!r} twice")
        if len(rows) < least:
            raise DataError(f"{what}: has a header and no rows")
    width = len(columns if columns is not None else rows[0])
    found = TextRows(path, option, columns, rows, lines)
    torn = next((i for i, row in enumerate(rows) if len(row) != width), None)
    if torn is not None:
        raise found.refuse(torn, f"has {len(rows[torn])} of the {width} values that the first line has")
    return found


def _cells(path: Path, what: str, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Rows without the empty lines, and the line at which each begins."""
    if separator == " " or path.suffix.lower() == ".tsv":
        split = text.split("\n")
        kept = [(i, line) for i, line in enumerate(split, 1) if line.strip() and not _is_comment(path, line)]
        cells = [line.split() if separator == " " else line.rstrip("\r").split("\t") for _, line in kept]
        return [[cell.strip() for cell in row] for row in cells], [i for i, _ in kept]
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and not _is_comment(path, row[0]):
                rows.append([cell.strip() for cell in row])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{what}, line {line}: cannot be read as a table: {reason(error)}") from None
    return rows, lines


def _is_comment(path: Path, line: str) -> bool:
    return path.suffix.lower() not in (".csv", ".tsv") and line.lstrip()[:1] in ("#", "%")


def _separator(path: Path, text: str) -> str:
    ending = path.suffix.lower()
    if ending == ".tsv":
        return "\t"
    first = next(line for line in text.split("\n") if line.strip() and not _is_comment(path, line))
    if ending != ".csv":
        return "\t" if "\t" in first else max(" ,;|", key=lambda sign: first.count(sign) if sign != " " else 0.5)
    outside = "".join(first.split('"')[::2])
    return max(",;\t|", key=outside.count)


def _of_json(path: Path, option: str, text: str) -> TextRows:
    columns: list[str] = []
    rows, lines = [], []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        what = f"data.options.{option}: {path}, line {line}"
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{what}: is no JSON: {reason(error)}") from None
        if not isinstance(value, dict):
            raise DataError(f"{what}: holds a {type(value).__name__}, not an object with a value for each column")
        columns = columns or list(value)
        if set(value) != set(columns):
            odd = sorted(set(value) ^ set(columns))[0]
            raise DataError(f"{what}: {'has' if odd in value else 'lacks'} {odd!r}, unlike the first object")
        if "\\ud" in content.lower() and any(map(_is_half, (*value, *value.values()))):
            raise DataError(f"{what}: holds half of a letter, \\ud800 to \\udfff without the other half: it is no text")
        rows.append([_text(what, column, value[column]) for column in columns])
        lines.append(line)
    return TextRows(path, option, columns, rows, lines)


def _is_half(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _text(what: str, column: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise DataError(f"{what}: {column} holds a {type(value).__name__}; it needs a text or a number")
    return "" if value is None else str(value).strip()
