"""Rows that are read when asked for, in place of an array of them: what `RawData.x_train` may be."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from unlocked.errors import DataError, RunFailed

BLOCK = 16 * 2**20  # bytes that pass through memory at once when all rows are read


class RowSource(ABC):
    """`n` raw inputs of one shape and dtype that are somewhere else: in files, say.

    A subclass gives `read` and calls `__init__`. It is pickled for workers, so it holds paths and no rows.

    Args:
        shape: `(n, *in_shape)`.
        dtype: of the raw inputs, as numpy names it.
    """

    is_held: bool = False  # in memory: splits are tensors
    ahead: int = 4  # minibatches that are read while the net learns from the one before; 0: none
    readers: int = 2  # threads that do
    _channels_first: RowSource | None = None
    known: Any = None  # the `Scan` of all rows, if they were looked at already and are not normalised

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        self.shape: tuple[int, ...] = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """The raw inputs of `rows (m,)`, int64, in their order: `(m, *in_shape)`, an array of the caller's own.

        Threads call it at once. Raises `RunFailed`, one line, if they cannot be read any more.
        """

    def drawn(self, rows: np.ndarray, draw: int) -> np.ndarray:
        """As `read`, for a minibatch of training: `draw` seeds what is made by chance, anew every time."""
        return self.read(rows)

    def identity(self) -> list[Any] | None:
        """What changes if the rows do, as JSON: names, sizes and times of files. None: nothing says so."""
        return None

    def where(self, row: int) -> str:
        """Of a row, for messages: `big/x-003.npy, row 17` (rows count from 0)."""
        return f"example {row}"

    @property
    def what(self) -> str:
        """All of it, for messages."""
        return type(self).__name__

    # as an array -------------------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        return int(math.prod(self.shape[1:]) * self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Of all rows, wherever they are."""
        return len(self) * self.row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> RowSource:
        """These rows, in this order; nothing is read."""
        return Chosen(self, np.asarray(rows, dtype=np.int64))

    def channels_first(self) -> RowSource:
        """Images that have their channels last, with them first; one source, however often it is asked for."""
        if self._channels_first is None:
            self._channels_first = ChannelsFirst(self)
        return self._channels_first

    def held(self) -> RowSource:
        """The same rows, all in memory."""
        return Held(self)

    def origin(self) -> tuple[RowSource, np.ndarray]:
        """The source that reads, and which of its rows these are."""
        return self, np.arange(len(self))

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order, a block at a time, each with the number of its first."""
        at_once = max(1, BLOCK // max(1, self.row_bytes))
        for first in range(0, len(self), at_once):
            yield first, self.read(np.arange(first, min(first + at_once, len(self))))


def at_start(error: RunFailed) -> DataError:
    """The same line for rows that could not be read before anything was started."""
    return DataError(str(error))


class Chosen(RowSource):
    """Some rows of a source."""

    def __init__(self, source: RowSource, rows: np.ndarray):
        super().__init__((len(rows), *source.shape[1:]), source.dtype)
        self._source, self._rows = source, rows
        self.ahead, self.readers, self.is_held = source.ahead, source.readers, source.is_held

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._source.read(self._rows[rows])

    def drawn(self, rows: np.ndarray, draw: int) -> np.ndarray:
        return self._source.drawn(self._rows[rows], draw)

    def identity(self) -> list[Any] | None:
        found = self._source.identity()
        return None if found is None else [hashlib.sha256(self._rows.tobytes()).hexdigest(), *found]

    def channels_first(self) -> RowSource:
        return Chosen(self._source.channels_first(), self._rows)

    def where(self, row: int) -> str:
        return self._source.where(int(self._rows[row]))

    @property
    def what(self) -> str:
        return self._source.what

    def __getitem__(self, rows: np.ndarray) -> RowSource:
        return Chosen(self._source, self._rows[rows])

    def origin(self) -> tuple[RowSource, np.ndarray]:
        return self._source, self._rows


class ChannelsFirst(RowSource):
    """Images of a source that has their channels last."""

    def __init__(self, source: RowSource):
        n, *pixels, channels = source.shape
        super().__init__((n, channels, *pixels), source.dtype)
        self._source, self.ahead, self.readers = source, source.ahead, source.readers
        self.is_held = source.is_held

    def read(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self._source.read(rows), -1, 1))

    def drawn(self, rows: np.ndarray, draw: int) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self._source.drawn(rows, draw), -1, 1))

    def identity(self) -> list[Any] | None:
        found = self._source.identity()
        return None if found is None else ["channels first", *found]

    def where(self, row: int) -> str:
        return self._source.where(row)

    @property
    def what(self) -> str:
        return self._source.what


class WithAxis(RowSource):
    """Rows `(n, 1, ...)` of a source `(n, ...)`: the one channel of grey images, or the one feature of numbers."""

    def __init__(self, source: RowSource):
        n, *rest = source.shape
        super().__init__((n, 1, *rest), source.dtype)
        self._source, self.ahead, self.readers = source, source.ahead, source.readers
        self.is_held = source.is_held

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._source.read(rows)[:, None]

    def drawn(self, rows: np.ndarray, draw: int) -> np.ndarray:
        return self._source.drawn(rows, draw)[:, None]

    def identity(self) -> list[Any] | None:
        found = self._source.identity()
        return None if found is None else ["one axis", *found]

    def where(self, row: int) -> str:
        return self._source.where(row)

    @property
    def what(self) -> str:
        return self._source.what


def channels_first(x: Any) -> Any:
    """Images, an array or rows to read, `(n, height, width, channels)`, with their channels first."""
    return x.channels_first() if isinstance(x, RowSource) else np.moveaxis(x, -1, 1)


class HeldArray(RowSource):
    """The rows of an array in memory, for the statistics of rows that are read: the same to the last bit."""

    is_held = True

    def __init__(self, array: np.ndarray):
        super().__init__(array.shape, array.dtype)
        self._array = array

    def read(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._array[rows]
        return found

    @property
    def what(self) -> str:
        return "x"


class Held(RowSource):
    """The rows of another source, all in memory: they are trained on as tensors, to the same numbers."""

    is_held = True

    def __init__(self, source: RowSource):
        super().__init__(source.shape, source.dtype)
        self._source = source
        try:
            self._array = source.read(np.arange(len(source)))
        except RunFailed as error:
            raise at_start(error) from None

    def read(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._array[rows]
        return found

    def identity(self) -> list[Any] | None:
        return self._source.identity()

    def where(self, row: int) -> str:
        return self._source.where(row)

    @property
    def what(self) -> str:
        return self._source.what
