"""Arrays in a Parquet file: columns of numbers or texts, and columns of lists of one length, such as pixels.

A row of Parquet cannot be read by itself: its row group, often of 100,000 rows, is decoded for it. So inputs that stay
in their file (`memory: mapped`) are decoded once, a piece at a time, into rows in the cache; a minibatch then reads the
very rows that memory would have given, in the same order.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.errors import DataError, reason
from unlocked.files import written_whole

PARQUET = (".parquet", ".pq")
_PIECE = 2**24  # bytes that are decoded at once, about
_SPARE = 2**30  # bytes of the disk that are left


def columns_of(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every column that is an array, by name. Raises `DataError`."""
    file = _opened(path)
    rows, found = file.metadata.num_rows, {}
    if not rows:
        raise DataError(f"{path}: has no row")
    for field in file.schema_arrow:
        first = next(_pieces(path, file, field.name, 1), None)
        if first is not None:
            found[field.name] = ((rows, *first.shape[1:]), first.dtype.str)
    return found


def load_columns(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Raises `DataError` for missing values, and lists of several lengths, with the row."""
    file = _opened(path)
    return {name: np.concatenate([*_pieces(path, file, name)]) for name in names}


def decoded(path: Path, name: str, cache: Sequence[Path]) -> Path:
    """An NPY file with the rows of a column, in the first folder of `cache` that can be written; made if need be.

    Raises `DataError` if the disk has no room, or the column is no array.
    """
    file, status = _opened(path), path.stat()
    told = json.dumps([str(path.absolute()), status.st_size, status.st_mtime_ns, name])
    key = f"rows-{path.stem}-{hashlib.sha256(told.encode()).hexdigest()[:24]}.npy"
    places = [folder / key for folder in cache]
    known = next((place for place in places if place.is_file()), None)
    if known is not None:
        return known
    shape, dtype = columns_of(path)[name]
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    why = f"{path}: no folder for its rows"
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(place.parent).free
            if free < size + _SPARE:
                why = f"{path}: its {size / 1e9:.1f} GB of rows do not fit into {place.parent}"
                continue
            print(f"decoding {path} once ({size / 1e9:.1f} GB of rows) to {place}", file=sys.stderr, flush=True)
            with written_whole(place) as part, part.open("xb") as out:
                header = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                for piece in _pieces(path, file, name):
                    out.write(np.ascontiguousarray(piece, dtype=dtype).data)
            return place
        except OSError as error:
            why = f"{place}: cannot be written: {error.strerror or reason(error)}"
    raise DataError(f"{why}; XDG_CACHE_HOME names another folder")


def _opened(path: Path) -> Any:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except Exception as error:  # of a damaged file it raises its own, or OSError
        raise DataError(f"{path}: cannot be read as a Parquet file: {reason(error)}") from None


def _pieces(path: Path, file: Any, name: str, most: int | None = None) -> Iterator[np.ndarray]:
    """The rows of a column in their order, some at a time, or the first `most`; nothing if it is no array."""
    import pyarrow as pa

    kind = file.schema_arrow.field(name).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    value = kind.value_type if is_list else kind
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    is_number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)
    if not is_number and not is_text:
        return
    first, width = 0, 0
    try:
        if is_list:
            width = len(next(file.iter_batches(1, columns=[name])).column(0)[0])
        at_once = most or max(1, _PIECE // max(8, 8 * width))
        for piece in file.iter_batches(at_once, columns=[name], use_threads=False):
            column = piece.column(0)
            if column.null_count:
                row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise DataError(f"{path}: row {first + row + 1} of {name} has no value")
            if is_list:
                yield _of_lists(path, name, column, first, width)
            else:
                array = column.to_numpy(zero_copy_only=False)
                yield array.astype(str) if is_text else array
            first += len(column)
            if most is not None:
                return
    except DataError:
        raise
    except Exception as error:  # of damaged pages every codec raises its own
        raise DataError(f"{path}: cannot be read from row {first + 1} of {name} on: {reason(error)}") from None


def _of_lists(path: Path, name: str, column: Any, first: int, width: int) -> np.ndarray:
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise DataError(
            f"{path}: row {first + row + 1} of {name} has {lengths[row]} values, and the first row {width}; rows of "
            "one length are needed"
        )
    flat = column.flatten()
    if flat.null_count:
        row = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False))) // max(1, width)
        raise DataError(f"{path}: row {first + row + 1} of {name} has a missing value")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), width)
