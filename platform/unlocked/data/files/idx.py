"""IDX, the file format of MNIST and its relatives: a typed header, sizes, then raw bytes, often gzipped.

Format: two zero bytes, a type code (8: unsigned byte), the number of axes, then each axis as a big-endian
32-bit integer, then the values in C order (Y. LeCun, "The MNIST database", file formats).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from unlocked.errors import DataError

UNSIGNED_BYTE = 8
LARGEST = 1 << 31  # bytes; a bigger array means a broken header


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` axes in an IDX file, gzipped or not (told by its first bytes, not its name).

    Raises `DataError` naming the file and what is wrong with it: not IDX, other axes, truncated, too long,
    damaged gzip, not readable.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _read(path, raw, ndim)
            with gzip.open(raw) as unzipped:
                return _read(path, unzipped, ndim)
    except EOFError:
        raise DataError(f"{path}: the gzip stream is truncated; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, ndim: int) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file (it begins with {magic.hex() or 'nothing'})")
    if magic[2] != UNSIGNED_BYTE or magic[3] != ndim:
        raise DataError(
            f"{path}: an IDX file of type {magic[2]:#04x} with {magic[3]} axes, where type 0x08 with {ndim} is expected"
        )
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path}: truncated in its header")
    shape = struct.unpack(f">{ndim}I", sizes)
    expected = math.prod(shape)
    if expected > LARGEST:
        raise DataError(f"{path}: damaged header (it claims an array of {' x '.join(map(str, shape))})")
    values = stream.read(expected + 1)
    if len(values) != expected:
        fault = "truncated: it holds only" if len(values) < expected else "too long: it holds more than"
        count = len(values) if len(values) < expected else expected
        raise DataError(
            f"{path}: {fault} {count} of the {expected} bytes that its header ({' x '.join(map(str, shape))}) asks for"
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)
