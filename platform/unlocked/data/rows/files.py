"""Rows of files that hold arrays as they are in memory: npy, a folder of npy shards, safetensors, npz that is stored.

Rows are read by `pread`, not through a mapping: a file that was cut short, or a disk that fails, is then an error with
a name, where a mapping would end the process by SIGBUS. The operating system keeps what was read lately either way.
"""

from __future__ import annotations

import ast
import json
import math
import os
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unlocked.data.files.arrays import NPY, shards
from unlocked.data.files.parquet import PARQUET, columns_of, decoded
from unlocked.data.rows.source import RowSource
from unlocked.errors import DataError, RunFailed

OPEN = 256  # files of one source that stay open
_HEADER = 2**20  # bytes, at most, of what describes an array
_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """An array within a file: where its first row begins, and the file's size and time when it was looked at."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    size: int
    changed: int  # ns


class FileRows(RowSource):
    """The rows of several arrays of one shape and dtype, one array after the other."""

    def __init__(self, parts: Sequence[Stored], what: str):
        first = parts[0]
        for part in parts:
            if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
                raise DataError(
                    f"{part.path}: has rows of shape {part.shape[1:]}, {part.dtype}; those of {first.path} have "
                    f"{first.shape[1:]}, {first.dtype}"
                )
        super().__init__((sum(part.shape[0] for part in parts), *first.shape[1:]), first.dtype)
        self._parts, self._what = list(parts), what
        self._begins = np.cumsum([0, *(part.shape[0] for part in parts)])
        self._open: dict[int, int] = {}  # descriptors, by part

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_open", {}).values():
            os.close(descriptor)

    @property
    def what(self) -> str:
        return self._what

    def identity(self) -> list[Any]:
        return [[part.path, part.offset, part.size, part.changed, list(part.shape), part.dtype] for part in self._parts]

    def where(self, row: int) -> str:
        part = self._part_of(row)
        return f"{self._parts[part].path}, row {row - int(self._begins[part])}"

    def _part_of(self, row: int) -> int:
        return int(np.searchsorted(self._begins, row, side="right")) - 1

    def read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not out.size:
            return out
        flat, each = memoryview(out.reshape(-1).view(np.uint8).data), self.row_bytes
        parts = np.searchsorted(self._begins, rows, side="right") - 1
        # rows that lie one after the other are one read
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(parts) != 0)) + 1
        looked_at: dict[int, int] = {}
        try:
            for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
                part = int(parts[begin])
                if part not in looked_at:
                    looked_at[part] = self._descriptor(part)
                at = self._parts[part].offset + (int(rows[begin]) - int(self._begins[part])) * each
                self._fill(part, looked_at[part], flat[begin * each : end * each], at)
        finally:
            for part, descriptor in looked_at.items():
                if self._open.get(part) != descriptor:
                    os.close(descriptor)
        return out

    def _fill(self, part: int, descriptor: int, room: memoryview, at: int) -> None:
        while len(room):
            try:
                got = os.preadv(descriptor, [room], at)
            except OSError as error:
                raise RunFailed(f"{self._parts[part].path}: cannot be read: {error.strerror}") from None
            if not got:
                raise RunFailed(f"{self._parts[part].path}: ends at byte {at}: it was cut short while it was in use")
            room, at = room[got:], at + got

    def _descriptor(self, part: int) -> int:
        """Of an open file that is still what it was. Raises `RunFailed`."""
        stored = self._parts[part]
        found = self._open.get(part)
        try:
            descriptor = os.open(stored.path, os.O_RDONLY | os.O_CLOEXEC) if found is None else found
            now = os.fstat(descriptor)
        except OSError as error:
            raise RunFailed(f"{stored.path}: cannot be read: {error.strerror}") from None
        if (now.st_size, now.st_mtime_ns) != (stored.size, stored.changed):
            if found is None:
                os.close(descriptor)
            differs = f", from {stored.size} bytes to {now.st_size}" if now.st_size != stored.size else ""
            raise RunFailed(
                f"{stored.path}: was changed while it was in use{differs}; put the old file back, or begin a new run"
            )
        if found is None and len(self._open) < OPEN:
            kept = self._open.setdefault(part, descriptor)
            if kept != descriptor:  # another thread was first
                os.close(descriptor)
            return kept
        return descriptor


def open_rows(path: Path, name: str | None = None, cache: Sequence[Path] = ()) -> FileRows:
    """The rows of an array in a file, or in the `.npy` files of a folder.

    Args:
        path: `.npy`, `.npz` (as `numpy.savez` writes it, not compressed), `.safetensors`, a folder of `.npy` files
            (`x.npy`, or `x-000.npy`, `x-001.npy`, ...), or `.parquet`, whose rows are decoded into the cache once.
        name: of the array, of which a file or folder may hold several; None: there is one.
        cache: folders for the decoded rows, such as `source.cache_folders()`.

    Raises `DataError`, one line, for anything else.
    """
    path = path.expanduser().absolute()
    if path.is_dir():
        files = shards(path)
        return FileRows([_stored(each, None) for each in files[_named(path, name, list(files))]], str(path))
    if path.suffix.lower() in PARQUET:
        columns = list(columns_of(path))
        return FileRows([_stored(decoded(path, _named(path, name, columns), cache), None)], str(path))
    return FileRows([_stored(path, None if path.suffix == NPY else name)], str(path))


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise DataError(f"{path}: is no file" if path.exists() else f"{path}: does not exist")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _stored(path: Path, name: str | None) -> Stored:
    with _opened(path) as file:
        status = os.fstat(file.fileno())
        try:
            if path.suffix == NPY:
                offset, shape, dtype = _npy(path, file)
            elif path.suffix == ".npz":
                offset, shape, dtype = _npz(path, file, name)
            elif path.suffix == ".safetensors":
                offset, shape, dtype = _safetensors(path, file, name)
            else:
                raise DataError(f"{path}: {path.suffix or 'a file without a suffix'} is not read row by row; .npy, "
                                ".npz, .safetensors or a folder of .npy files is")  # fmt: skip
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        whole = math.prod(shape) * np.dtype(dtype).itemsize
        if offset + whole > status.st_size:
            raise DataError(
                f"{path}: has {status.st_size} bytes, and an array of shape {shape} ends at byte {offset + whole}: it "
                "was cut short"
            )
        return Stored(str(path), offset, shape, dtype, status.st_size, status.st_mtime_ns)


def _npy(path: Path, file: BinaryIO) -> tuple[int, tuple[int, ...], str]:
    """Where its data begin, and what they are: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    begin = file.read(8)
    if len(begin) < 8 or begin[:6] != b"\x93NUMPY" or begin[6] not in (1, 2, 3):
        raise DataError(f"{path}: is no .npy file, or a damaged one")
    wide = begin[6] > 1
    length = int.from_bytes(file.read(4 if wide else 2), "little")
    if length > _HEADER:
        raise DataError(f"{path}: is damaged: its header would have {length} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8" if begin[6] == 3 else "latin1"))
        shape, dtype, by_column = tuple(header["shape"]), np.dtype(header["descr"]), header["fortran_order"]
        sound = len(shape) > 0 and all(type(size) is int and size >= 0 for size in shape)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        sound = False
    if not sound:
        raise DataError(f"{path}: is damaged: its header is not that of an array")
    if dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {dtype} values; it needs real numbers")
    if by_column and len(shape) > 1:
        raise DataError(f"{path}: lies column by column; numpy.save(file, numpy.ascontiguousarray(x)) writes rows")
    return file.tell(), shape, dtype.str


def _zipped(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        raise DataError(f"{path}: is no .npz file, or a damaged one") from None


def _npz(path: Path, file: BinaryIO, name: str | None) -> tuple[int, tuple[int, ...], str]:
    found = {each.filename.removesuffix(".npy"): each for each in _zipped(path, file).infolist()}
    entry = found[_named(path, name, list(found))]
    if entry.compress_type != zipfile.ZIP_STORED:
        raise DataError(
            f"{path}: {entry.filename} is compressed, so its rows cannot be read one by one; numpy.savez writes it as "
            "it is, or memory: loaded reads all of it"
        )
    file.seek(entry.header_offset)
    local = file.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise DataError(f"{path}: is damaged: {entry.filename} is not where it should be")
    file.seek(entry.header_offset + 30 + sum(struct.unpack("<HH", local[26:30])))
    return _npy(path, file)


def _tensors(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and where their data begin."""
    length = int.from_bytes(file.read(8), "little")
    if length > _HEADER * 100:
        raise DataError(f"{path}: is no safetensors file, or a damaged one")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise DataError(f"{path}: is no safetensors file, or a damaged one")
    return header, 8 + length


def _safetensors(path: Path, file: BinaryIO, name: str | None) -> tuple[int, tuple[int, ...], str]:
    header, begin = _tensors(path, file)
    key = _named(path, name, [each for each in header if each != "__metadata__"])
    try:
        entry = header[key]
        shape, (first, _) = tuple(entry["shape"]), entry["data_offsets"]
        dtype = _SAFETENSORS.get(entry["dtype"])
        sound = len(shape) > 0 and all(type(each) is int and each >= 0 for each in (*shape, first))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise DataError(f"{path}: is damaged: {key} has no shape of rows")
    if dtype is None:
        raise DataError(f"{path}: {key} holds {entry['dtype']} values, which numpy does not have; save it as F32")
    return begin + first, shape, np.dtype(dtype).str


def _named(path: Path, name: str | None, known: list[str]) -> str:
    from unlocked_models.contract.registry import unknown

    if not known:
        raise DataError(f"{path}: holds no array")
    if name is None:
        if len(known) > 1:
            raise DataError(f"{path}: holds {', '.join(sorted(known))}; name one of them")
        return known[0]
    if name not in known:
        raise DataError(f"{path}: {unknown('array', name, known)}")
    return name
