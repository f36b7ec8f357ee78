"""Arrays by name from NPZ, NPY and safetensors files.

Nothing is unpickled. Sizes are checked before memory is taken: those of the headers against the file, and against the
memory that is free.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import psutil

from unlocked.data.files.parquet import PARQUET, columns_of, load_columns
from unlocked.data.files.source import inside
from unlocked.errors import DataError, reason

_NUMBERED = re.compile(r"[-_.](\d+)$")
NPZ, NPY, SAFETENSORS = ".npz", ".npy", ".safetensors"
SUFFIXES = (NPZ, NPY, SAFETENSORS)
# by the header of a safetensors file
_DTYPES = {"BOOL": "bool", "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "float32"}
_DTYPES |= {
    f"{sign}{bits}": f"{name}{bits}" for sign, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Told:
    """What the header of an array says."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class ArrayFile:
    """The arrays of a file by name; that of an NPY file is called `x`. Of a folder of NPY files: see `shards`."""

    path: Path
    told: Mapping[str, Told]

    def listed(self) -> str:
        first = list(self.told.items())[:12]
        shown = [f"{name} {' x '.join(map(str, each.shape))} {np.dtype(each.dtype).name}" for name, each in first]
        more = len(self.told) - 12
        return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")

    def load(self, names: Iterable[str], copies: int = 1) -> dict[str, np.ndarray]:
        """Raises `DataError` if so many copies of them do not fit into memory, or what a header promises is not
        there."""
        names = list(dict.fromkeys(names))
        size, free = copies * sum(self.told[name].nbytes for name in names), psutil.virtual_memory().available
        if size > free:
            unpacks = "unpacks to" if self.path.suffix.lower() == NPZ else "takes"
            raise DataError(
                f"{self.path}: {unpacks} {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; "
                "data.options.memory=mapped reads rows when they are needed"
            )
        try:
            found = _loaded(self.path, names)
        except DataError:
            raise
        except Exception as error:  # of damaged files numpy, zipfile and zlib raise their own
            raise _unreadable(self.path, error) from None
        for name, array in found.items():
            if array.shape != self.told[name].shape:
                raise DataError(f"{self.path}: the array {name} is not what its header says")
        return found


def open_arrays(path: Path) -> ArrayFile:
    """Raises `DataError`, one line, if it is no such file, or an array of it holds Python objects or is torn."""
    if path.is_dir():
        return ArrayFile(path, {name: _whole(files) for name, files in shards(path).items()})
    if path.suffix.lower() in PARQUET:
        return ArrayFile(path, {name: Told(*told) for name, told in columns_of(path).items()})
    try:
        if not path.stat().st_size:
            raise DataError(f"{path}: is empty")
        told = _told(path)
    except DataError:
        raise
    except Exception as error:  # of damaged files numpy, zipfile, tokenize and safetensors raise their own
        raise _unreadable(path, error) from None
    return ArrayFile(path, told)


def shards(folder: Path) -> dict[str, list[Path]]:
    """The NPY files of a folder by the array that they are of, in the order of their rows: `x.npy`, or `x-000.npy`,
    `x-001.npy`, ...

    Raises `DataError` for a link out of the folder.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=_by_number):
        if path.suffix.lower() == NPY and not path.name.startswith("."):
            found.setdefault(_NUMBERED.sub("", path.stem), []).append(inside(path, folder, str(path)))
    if not found:
        raise DataError(f"{folder}: holds no {NPY} file")
    return found


def _by_number(path: Path) -> tuple[str, int, str]:
    number = _NUMBERED.search(path.stem)
    return _NUMBERED.sub("", path.stem), int(number[1]) if number else -1, path.name


def _whole(files: list[Path]) -> Told:
    """Of all the files of one array, which have rows of one shape."""
    told = [open_arrays(path).told["x"] for path in files]
    for path, each in zip(files, told, strict=True):
        if (each.shape[1:], each.dtype) != (told[0].shape[1:], told[0].dtype) or not each.shape:
            raise DataError(
                f"{path}: is {each.dtype} of shape {each.shape}; {files[0].name} is {told[0].dtype} of shape "
                f"{told[0].shape}"
            )
    return Told((sum(each.shape[0] for each in told), *told[0].shape[1:]), told[0].dtype)


def _of_folder(folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    files = shards(folder)
    return {name: np.concatenate([np.load(path, allow_pickle=False) for path in files[name]]) for name in names}


def _unreadable(path: Path, error: BaseException) -> DataError:
    kind = {NPZ: "an NPZ", NPY: "an NPY"}.get(path.suffix.lower(), "a safetensors")
    return DataError(f"{path}: cannot be read as {kind} file of plain arrays: {reason(error)}")


def _told(path: Path) -> dict[str, Told]:
    ending = path.suffix.lower()
    if ending == SAFETENSORS:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as held:
            slices = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118  (no mapping)
            return {name: _of_safetensors(name, each.get_shape(), each.get_dtype()) for name, each in slices.items()}
    if ending == NPY:
        with path.open("rb") as file:
            return {"x": _header("x", file, path.stat().st_size)}
    with zipfile.ZipFile(path) as packed:
        found = {}
        for each in packed.infolist():
            name = each.filename.removesuffix(NPY)
            if name == each.filename:
                continue  # no array
            if name in found:
                raise ValueError(f"it has the array {name} twice")
            with packed.open(each) as file:
                found[name] = _header(name, file, each.file_size)
        return found


def _of_safetensors(name: str, shape: list[int], dtype: str) -> Told:
    if dtype not in _DTYPES:
        raise ValueError(f"the array {name} holds {dtype} values, which numpy has not")
    return Told(tuple(shape), _DTYPES[dtype])


def _header(name: str, file: IO[bytes], size: int) -> Told:
    """That of an NPY file of `size` bytes (numpy.lib.format). Its own length is checked there."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"the array {name} holds Python objects, which would have to be unpickled; save plain numbers")
    told, there = Told(tuple(shape), dtype.str), size - file.tell()
    if told.nbytes != there:
        raise ValueError(f"the array {name} is torn: its header promises {told.nbytes:,} bytes, {there:,} are there")
    return told


def _loaded(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    ending = path.suffix.lower()
    if path.is_dir():
        return _of_folder(path, names)
    if ending in PARQUET:
        return load_columns(path, names)
    if ending == SAFETENSORS:
        import torch
        from safetensors import safe_open

        with safe_open(path, framework="pt") as held:
            tensors = {name: held.get_tensor(name) for name in names}
        return {
            name: (each.float() if each.dtype is torch.bfloat16 else each).numpy() for name, each in tensors.items()
        }
    stored = np.load(path, allow_pickle=False)
    if isinstance(stored, np.ndarray):
        return dict.fromkeys(names, stored)
    with stored:
        return {name: stored[name] for name in names}
