"""CSV files by pyarrow, with what a file does not say found out: encoding, separator, quoting, header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlocked.data.files.arrow import pyarrow
from unlocked.errors import DataError, reason
from unlocked.numerals import is_number

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "NULL", "None", "<NA>")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_SAMPLE = 2**18  # bytes that separator and quoting are found out from


@dataclass(frozen=True)
class Format:
    """How a CSV file is read; None or an empty text: found out.

    Args:
        encoding: such as utf-8, cp1252 or utf-16.
        separator: of cells, one character.
        quote: what stands around cells with a separator in them, one character.
        header: whether the first line names the columns.
        skip: lines above that, such as a title.
        empty: words that stand for a missing value, beside the usual ones (`MISSING`).
    """

    encoding: str | None = None
    separator: str | None = None
    quote: str | None = None
    header: bool | None = None
    skip: int = 0
    empty: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """What was said, for new files of the same format."""
        said = {key: value for key, value in vars(self).items() if value not in (None, 0, ())}
        return said | ({"empty": list(self.empty)} if self.empty else {})

    @classmethod
    def of_json(cls, value: Any) -> Format:
        """Raises `ValueError` or `TypeError` for what no format said of itself."""
        kinds = {"encoding": str, "separator": str, "quote": str, "header": bool, "skip": int, "empty": list}
        if not isinstance(value, dict) or not all(isinstance(each, kinds[key]) for key, each in value.items()):
            raise ValueError(f"{value!r} is no format of a table")
        return cls(**{**value, "empty": tuple(map(str, value.get("empty", ())))})


def read_csv(path: Path, how: Format) -> tuple[dict[str, pyarrow.ChunkedArray], str, Format, list[str]]:
    """Columns by name, the format in words and as it was found, and notes. Raises `DataError`, one line, and what
    pyarrow raises."""
    import pyarrow.csv

    encoding, unsure = _encoding(path, how.encoding)
    if how.skip < 0:
        raise DataError(f"data.options.skip: must be at least 0, got {how.skip}")
    lines = _sample(path, encoding).split("\n")
    skip = next((at for at in range(how.skip, len(lines)) if lines[at].strip()), how.skip)  # empty lines too
    sample = "\n".join(lines[skip:])
    separator, quote = how.separator or "", how.quote or ""
    for what, given in (("separator", separator), ("quote", quote)):
        if len(given) > 1 or not given.isascii() or given in ("\r", "\n"):
            raise DataError(f"data.options.{what}: must be one character of ASCII, got {given!r}")
    if separator and separator == quote:
        raise DataError(f"data.options.quote: is {quote!r}, as data.options.separator is")
    quote = quote or _quote(sample)
    separator = separator or ("\t" if path.suffix.lower() in (".tsv", ".tab") else _separator(path, sample, quote))
    first = _rows(sample, separator, quote)[:100]
    if not first:
        raise DataError(f"{path}: is empty")
    header = _has_header(first, how.empty) if how.header is None else how.header
    names = _headings(path, first[0], skip + 1) if header else [f"column_{i + 1}" for i in range(len(first[0]))]
    notes = [f"read as {encoding}: it is not UTF-8 (encoding says another)"] if unsure else []
    if not header and how.header is None:
        notes.append(f"no header was found: columns are called {names[0]}, ... (header: true takes the first line)")
    blank = [name for name, given in zip(names, first[0], strict=True) if header and not given.strip()]
    notes += [f"the column {name} has no name in the file" for name in blank]
    if quote in sample:
        _refuse_unclosed(path, encoding, separator, quote)
    read = pyarrow.csv.ReadOptions(
        column_names=names, skip_rows=skip, skip_rows_after_names=int(header), encoding=encoding
    )
    parse = pyarrow.csv.ParseOptions(delimiter=separator, quote_char=quote, newlines_in_values=quote in sample)
    plain = pyarrow.csv.ConvertOptions(
        null_values=[*MISSING, *how.empty], strings_can_be_null=True, quoted_strings_can_be_null=True
    )
    try:
        table = pyarrow.csv.read_csv(path, read, parse, plain)
    except pyarrow.ArrowInvalid as error:
        _refuse_torn(path, encoding, separator, quote, len(names), skip)
        if "conversion error" not in str(error):
            raise
        texts = pyarrow.csv.ConvertOptions(
            null_values=plain.null_values, strings_can_be_null=True, column_types=dict.fromkeys(names, pyarrow.string())
        )
        table = pyarrow.csv.read_csv(path, read, parse, texts)
    told = "no header" if not header else "header"
    read_as = f"CSV, {encoding}, separated by {NAMES.get(separator, repr(separator))}, quoted by {quote}, {told}"
    used = replace(how, encoding=encoding, separator=separator, quote=quote, header=header)
    return dict(zip(names, table.columns, strict=True)), read_as, used, notes


def _encoding(path: Path, given: str | None) -> tuple[str, bool]:
    """The codec, and whether it is a guess."""
    if given is not None:
        try:
            of_text = "\n".encode(given).decode(given, "ignore") == "\n"  # zlib, hex and others are codecs too
        except (LookupError, ValueError):
            of_text = False
        if not of_text:
            raise DataError(f"data.options.encoding: {given!r} is no encoding; utf-8, cp1252, utf-16 are some")
    with path.open("rb") as file:
        start = file.read(4)
        if given is None and start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            return "utf-32", False
        if given is None and start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16", False
        file.seek(0)
        encoding = given or "utf-8"
        decoder = codecs.getincrementaldecoder(encoding)()
        line = 1
        while chunk := file.read(2**20):
            if encoding.lower().replace("-", "") == "utf8" and b"\0" in chunk:
                raise DataError(f"{path}: is no text: it holds bytes that are zero (an encoding such as utf-16?)")
            try:
                decoder.decode(chunk)
            except UnicodeError as error:
                if given is None:
                    return ("cp1252" if _decodes(path, "cp1252") else "latin-1"), True
                line += chunk[: getattr(error, "start", 0)].count(b"\n")
                raise DataError(
                    f"{path}, line {line}: is not in the encoding {given!r} (data.options.encoding)"
                ) from None
            line += chunk.count(b"\n")
    return encoding, False


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(2**20):
                decoder.decode(chunk)
        except UnicodeDecodeError:
            return False
    return True


def _sample(path: Path, encoding: str) -> str:
    """The first lines, whole ones."""
    with path.open("rb") as file:
        content = file.read(_SAMPLE)
        whole = not file.read(1)
    text = codecs.getincrementaldecoder(encoding)(errors="ignore").decode(content).removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if whole or "\n" not in text else text[: text.rindex("\n") + 1]


def _quote(sample: str) -> str:
    """`'` if cells stand between those, and more than between `"`."""
    counts = {
        quote: len(re.findall(rf"(?:^|[,;\t|]){quote}[^{quote}]*{quote}(?=[,;\t|]|$)", sample, re.M)) for quote in "\"'"
    }
    return "'" if counts["'"] > counts['"'] else '"'


def _rows(sample: str, separator: str, quote: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(sample), delimiter=separator, quotechar=quote) if row]
    except csv.Error:
        return []


def _separator(path: Path, sample: str, quote: str) -> str:
    """By which the first lines have as many cells each, and most of them."""
    found = {}
    for separator in ",;\t|":
        counts = [len(row) for row in _rows(sample, separator, quote)[:100]]
        usual = max(set(counts), key=counts.count) if counts else 1
        if usual > 1:
            found[separator] = (counts.count(usual) / len(counts), usual)
    if not found:
        counts = [len(line.split(" ")) for line in sample.splitlines()[:100]]
        return " " if counts and counts[0] > 1 and len(set(counts)) == 1 and is_number(sample.split()[0]) else ","
    return max(found, key=lambda each: (found[each][0] > 0.5, found[each][0] * found[each][1]))


def _has_header(rows: Sequence[Sequence[str]], empty: Sequence[str]) -> bool:
    """Unless the first line has a number, or every one of its texts stands again below it."""
    first, below = rows[0], rows[1:]
    if any(is_number(cell.strip()) for cell in first):
        return False
    again = [
        any(len(row) > i and row[i] == cell for row in below) or cell.strip() in (*MISSING, *empty)
        for i, cell in enumerate(first)
    ]
    return not below or not all(again)


def _headings(path: Path, cells: Sequence[str], line: int) -> list[str]:
    names = [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(cells)]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{path}, line {line}: names the column {twice!r} twice; rename one")
    return names


def _refuse_unclosed(path: Path, encoding: str, separator: str, quote: str) -> None:
    """Raises `DataError` for a quotation mark that none closes: pyarrow would read the rest of the file as one cell."""
    with path.open(encoding=encoding, newline="", errors="replace") as file:
        if sum(chunk.count(quote) for chunk in iter(lambda: file.read(2**20), "")) % 2 == 0:
            return
        file.seek(0)
        reader = csv.reader(file, delimiter=separator, quotechar=quote, strict=True)
        begin = 1
        try:
            for _ in reader:
                begin = reader.line_num + 1
        except csv.Error as error:
            if "end of data" in str(error):
                raise DataError(f"{path}, line {begin}: opens a cell with {quote} that nothing closes") from None


def _refuse_torn(path: Path, encoding: str, separator: str, quote: str, width: int, skip: int) -> None:
    """Raises `DataError` for the first row that has not as many cells as the first line."""
    with path.open(encoding=encoding, newline="", errors="replace") as file:
        for _ in range(skip):
            file.readline()
        reader = csv.reader(file, delimiter=separator, quotechar=quote)
        begin = 1 + skip
        try:
            for row in reader:
                if row and len(row) != width:
                    raise DataError(
                        f"{path}, line {begin}: has {len(row)} cells, the first line has {width} (data.options.skip "
                        "passes over lines above the table)"
                    )
                begin = reader.line_num + 1 + skip
        except csv.Error as error:
            raise DataError(f"{path}, line {begin}: cannot be read as CSV: {reason(error)}") from None
