"""New inputs from a file, as a trained net reads them: tables, arrays, images, sounds, texts, a graph.

    .csv .tsv .parquet   a row for each input: its numbers in order, or a column `text`; if the net was trained on a
                         table, .jsonl too, and columns of any kind
    .npz .npy .safetensors   an array `x (n, ...)`, and what the net reads beside it; a graph's `x` and `edge_index`
    .png .jpg ... or a folder of such: images, of any size if the net was trained on image files
    .wav         or a folder of such: sounds, if the net was trained on sound files
    .txt                 a text in each line

Files are data and nothing else: nothing in them is unpickled or run. Every fault is one line that names file and row.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlocked.data.files.arrays import SUFFIXES, open_arrays
from unlocked.data.files.source import Source
from unlocked.data.files.text_rows import JSON_LINES, read_rows
from unlocked.data.graphs.files import read_graph, refuse_larger_than_memory
from unlocked.data.media import image_files, wav
from unlocked.data.new import graphs, media, tables
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError, reason
from unlocked_models.contract.batch import EDGE_FEATURES, EDGE_WEIGHTS, EDGES, LENGTHS, Extra, Ragged
from unlocked_models.contract.registry import unknown

TABLES, ARRAYS, TEXTS = (".csv", ".tsv", ".parquet"), SUFFIXES, (".txt",)
IMAGES, SOUNDS = image_files.SUFFIXES, wav.SUFFIXES
TEXT = "text"  # the column
_CELL = 40  # bytes of a value of a table, and of its place in a list


@dataclass(frozen=True, eq=False)
class New:
    """`x (n, ...)` as the net sees it, `texts` that it was made of if it was; `names` of the inputs, if they have some,
    under the heading `named`; `notes` for the person at the keyboard; `what` names them in messages."""

    x: Tensor
    extras: Mapping[str, Extra] = field(default_factory=dict)
    texts: list[str] | None = None
    names: list[str] | None = None
    named: str = "file"
    notes: list[str] = field(default_factory=list)
    what: str = "inputs"


def read_file(path: Path, reading: Reading) -> New:
    """Raises `DataError`, one line."""
    if tables.reads(path, reading):
        x, extras, names, notes = tables.raw_rows(path, reading)
        return New(reading.numbers(str(path), x), extras, names=names, notes=notes, what=str(path))
    if graphs.is_graph_folder(path, reading):
        graph = graphs.read_new_graph(path, reading)
        whole = graph.found.graph
        new = of_graph(whole.x, whole.edges, whole.features, reading, str(path), graph.found.weights)
        return replace(new, names=graph.ids, named="id", what=str(path))
    if reading.is_text and path.suffix.lower() in (".tsv", *JSON_LINES) and path.is_file():
        return _of_text_rows(path, reading)
    of_sounds = reading.files is not None and reading.files.get("kind") == "audio"
    listed = media.lists(path, reading)
    if path.suffix.lower() in SOUNDS or ((path.is_dir() or listed) and of_sounds):
        return _of_sounds(path, reading)
    if path.is_dir() or listed or path.suffix.lower() in IMAGES:
        return _of_images(path, reading)
    known = [*TABLES, *ARRAYS, *TEXTS, *IMAGES, *SOUNDS]
    if path.suffix.lower() not in known:
        folders = "or a folder of images or sounds"
        raise DataError(f"{path}: is none of the files that are read here ({' '.join(known)}, {folders})")
    if not path.is_file():
        raise DataError(f"{path}: is no file")
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty")
    if path.suffix.lower() in ARRAYS:
        return _of_arrays(path, reading)
    if path.suffix.lower() in TEXTS:
        return of_texts(_lines(path), reading, str(path))
    return of_table(*_table(path), reading, str(path))


def _of_text_rows(path: Path, reading: Reading) -> New:
    """Texts of a column, read as the pairs of training are, without a header of the first; others have one column, or
    name it."""
    try:
        rows = read_rows(path, "file", (reading.text_column, TEXT))
        if rows.columns is None and len(rows.rows[0]) > 1 and reading.text_column == TEXT:
            raise DataError(f"{path}: {unknown('column', TEXT, rows.rows[0])}; this net reads texts")
        there = rows.columns or []
        named = TEXT if reading.text_column not in there and TEXT in there else reading.text_column
        texts = rows.column(named, at=0)
    except DataError as error:
        raise DataError(str(error).removeprefix("data.options.file: ")) from None
    return of_texts(texts, reading, str(path))


def of_texts(texts: Sequence[str], reading: Reading, what: str) -> New:
    if not reading.is_text:
        raise DataError(f"{what}: holds text; this net reads {_needs(reading)}")
    if not len(texts):
        raise DataError(f"{what}: is empty")
    strange = reading.unknown_words(texts)
    notes = [f"{what}: not in the vocabulary, so read as <unk>: {', '.join(strange[:8])}"] if strange else []
    return New(reading.ids(what, texts), texts=list(texts), notes=notes, what=what)


def of_table(heads: list[str] | None, rows: Sequence[Sequence[object]], reading: Reading, what: str) -> New:
    """`heads`: names of the columns; None: the table has none."""
    if not rows:
        raise DataError(f"{what}: has no rows")
    if heads is not None and tables.is_table(reading):
        x, extras, names, notes = tables.raw_columns(heads, rows, reading, what)
        return New(reading.numbers(what, x), extras, names=names, notes=notes, what=what)
    if reading.is_text:
        columns = [each for each in (reading.text_column, TEXT) if heads and each in heads]
        at = heads.index(columns[0]) if heads and columns else 0 if len(rows[0]) == 1 else None
        if at is None:
            raise DataError(f"{what}: {unknown('column', reading.text_column, heads or [])}; this net reads texts")
        return of_texts([str(row[at]) for row in rows], reading, what)
    if reading.features is not None and heads is not None:
        heads, rows = _named(heads, rows, reading.features, what)
    wanted = math.prod(reading.shape)
    width = len(heads) if heads else len(rows[0])
    if width != wanted:
        shape = f", those of shape {reading.shape} in order" if len(reading.shape) > 1 else ""
        raise DataError(f"{what}: has {width} columns; this net reads {wanted} numbers in each row{shape}")
    x = np.empty((len(rows), wanted))
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{what}: row {i + 1} has {len(row)} columns, not {width}")
        for j, value in enumerate(row):
            try:
                x[i, j] = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                named = repr(heads[j]) if heads else str(j + 1)
                raise DataError(f"{what}: row {i + 1}, column {named}: {value!r} is no number") from None
    return New(reading.numbers(what, x.reshape(-1, *reading.shape)), notes=reading.of_another_scale(what, x))


def _named(
    heads: Sequence[str], rows: Sequence[Sequence[object]], features: Sequence[str], what: str
) -> tuple[list[str], list[list[object]]]:
    """The columns that the net reads, in its order, wherever they stand; others are passed over."""
    lacking = [name for name in features if name not in heads]
    if lacking:
        raise DataError(f"{what}: has no column {', '.join(map(repr, lacking[:5]))} (it has {', '.join(heads[:20])})")
    for i, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise DataError(f"{what}: row {i} has {len(row)} columns, not {len(heads)}")
    places = [list(heads).index(name) for name in features]
    return list(features), [[row[place] for place in places] for row in rows]


def of_arrays(arrays: Mapping[str, np.ndarray], reading: Reading, what: str) -> New:
    """`x`, and what the net reads beside it, each with an axis of inputs first; of one graph without it."""
    if name_of_x(reading) in arrays:
        arrays = {**arrays, "x": arrays[name_of_x(reading)]}
    if "x" not in arrays:
        if len(arrays) != 1:
            raise DataError(f"{what}: has no array x (it has {', '.join(arrays) or 'none'})")
        arrays = {"x": next(iter(arrays.values()))}
    x = _channels_first(arrays["x"], reading)
    if x.ndim == 2 and EDGES in arrays and any(shape.name == EDGES for shape in reading.extras):
        return of_graph(x, arrays[EDGES], arrays.get(EDGE_FEATURES), reading, what, arrays.get(EDGE_WEIGHTS))
    given = {shape.name: shape for shape in reading.extras if shape.name != LENGTHS or LENGTHS in arrays}
    extras: dict[str, Extra] = {}
    for name, shape in given.items():
        if name not in arrays:
            raise DataError(f"{what}: has no array {name}, which this net reads beside x (it has {', '.join(arrays)})")
        if shape.ragged:
            raise DataError(f"{what}: {name} has rows of several lengths, which no such array holds; give one graph")
        if len(arrays[name]) != len(x):
            raise DataError(f"{what}: x has {len(x)} rows, {name} {len(arrays[name])}")
        extras[name] = torch.from_numpy(np.asarray(arrays[name])).to(shape.dtype)
    notes = []
    if reading.example.has_lengths and LENGTHS not in given:
        notes = [
            f"{what}: says no lengths, so every sequence is read to its end; an array `{LENGTHS}` says where each ends"
        ]
    lengths = _checked_lengths(arrays[LENGTHS], x, what) if LENGTHS in given else None
    if lengths is not None and x.dtype.kind == "f":  # after the end there may be anything
        there = (np.arange(x.shape[1]) < lengths[:, None]).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
        x = np.where(there, x, 0.0).astype(x.dtype)
    return New(reading.numbers(what, x, lengths), extras, notes=[*notes, *reading.of_another_scale(what, x)])


def _checked_lengths(lengths: np.ndarray, x: np.ndarray, what: str) -> np.ndarray:
    if lengths.dtype.kind not in "iu" or lengths.shape != x.shape[:1] or x.ndim < 2:
        raise DataError(
            f"{what}: lengths is {lengths.dtype} of shape {lengths.shape}; it needs a whole number of each row"
        )
    bad = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    if len(bad):
        raise DataError(f"{what}: row {bad[0] + 1} has the length {lengths[bad[0]]}; lengths are 1 to {x.shape[1]}")
    return lengths


def _channels_first(x: np.ndarray, reading: Reading) -> np.ndarray:
    """As training had them: see `channels` of the data set `arrays`."""
    channels = (reading.files or {}).get("channels")
    if channels == "last" and x.ndim == 4:
        return np.moveaxis(x, -1, 1)
    return x[:, None] if (channels == "none" and x.ndim == 3) or (x.ndim == 1 and reading.shape == (1,)) else x


def of_graph(
    x: np.ndarray,
    edges: np.ndarray,
    features: np.ndarray | None,
    reading: Reading,
    what: str,
    weights: np.ndarray | None = None,
) -> New:
    """One graph: `x (nodes, features)`, `edges (2, edges)` as the net is to see them, their features and weights."""
    outside = edges.ndim != 2 or len(edges) != 2 or ((edges < 0) | (edges >= len(x))).any()
    if outside:
        raise DataError(f"{what}: edge_index of shape {edges.shape} is not (2, edges) of nodes 0 to {len(x) - 1}")
    extras: dict[str, Extra] = {}
    for shape in reading.extras:
        if shape.name == EDGES:
            pairs = torch.from_numpy(np.ascontiguousarray(edges.T)).long()
            extras[EDGES] = _as_ragged(pairs) if shape.ragged else pairs.T[None].contiguous()
        elif shape.name == EDGE_FEATURES:
            if features is None:
                raise DataError(f"{what}: has no array {EDGE_FEATURES}, features of edges, which this net reads")
            values = torch.from_numpy(features.astype(np.float32))
            extras[EDGE_FEATURES] = _as_ragged(values) if shape.ragged else values[None]
        elif shape.name == EDGE_WEIGHTS:
            if weights is None:
                raise DataError(f"{what}: has no weights of edges, which this net reads")
            extras[EDGE_WEIGHTS] = torch.from_numpy(weights.astype(np.float32))[None]
        elif shape.name == LENGTHS:
            extras[LENGTHS] = torch.tensor([len(x)])
        else:
            raise DataError(f"{what}: this net reads {shape.name} beside a graph, which no file gives")
    return New(reading.numbers(what, x[None]), extras)


def _as_ragged(values: Tensor) -> Ragged:
    return Ragged(values, torch.tensor([0, len(values)]))


def _of_arrays(path: Path, reading: Reading) -> New:
    if any(shape.name == EDGES for shape in reading.extras):
        try:
            graph = read_graph(Source("new", Path()), str(path.absolute()), "", "", directed=False).graph
        except DataError as error:
            raise DataError(str(error).removeprefix("data.options.file: ")) from None
        return of_graph(graph.x, graph.edges, graph.features, reading, str(path))
    opened = open_arrays(path)
    taken = {shape.name for shape in reading.extras} | {name_of_x(reading), "x"}
    names = list(opened.told) if len(opened.told) == 1 else [name for name in opened.told if name in taken]
    return of_arrays(opened.load(names) or dict.fromkeys(opened.told, np.zeros(0)), reading, str(path))


def name_of_x(reading: Reading) -> str:
    """Of the inputs, among arrays."""
    return str((reading.files or {}).get("x", "x"))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {reason(error)}") from None


def _table(path: Path) -> tuple[list[str] | None, list[list[object]]]:
    """The columns' names, None if the first row is numbers already, and the rows."""
    if path.suffix.lower() == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            told = pyarrow.parquet.read_metadata(path)
            refuse_larger_than_memory(told.num_rows * told.num_columns * _CELL)
            table = pyarrow.parquet.read_table(path)
        except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as Parquet: {reason(error)}") from None
        return list(table.column_names), [list(row.values()) for row in table.to_pylist()]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            rows: list[list[object]] = [list(row) for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table: {reason(error)}") from None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        return [str(cell).strip() for cell in rows[0]], rows[1:]
    return None, rows


def _is_number(cell: object) -> bool:
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _of_images(path: Path, reading: Reading) -> New:
    if not reading.is_image:
        raise DataError(f"{path}: this net reads no images, but {_needs(reading)}")
    x, names = media.raw_images(path, reading)
    return New(reading.numbers(str(path), x), names=names)


def _of_sounds(path: Path, reading: Reading) -> New:
    x, lengths, names, notes = media.raw_sounds(path, reading)
    extras: dict[str, Extra] = {} if lengths is None else {LENGTHS: torch.from_numpy(lengths)}
    return New(reading.numbers(str(path), x, lengths), extras, names=names, notes=notes)


def _needs(reading: Reading) -> str:
    if reading.is_text:
        return "texts (.txt, or a column `text`)"
    return f"numbers of shape {reading.shape} for each input"
