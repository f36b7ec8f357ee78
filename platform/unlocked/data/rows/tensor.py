"""Inputs of a split that stay in their files: a tensor of which only rows can be asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.data.rows.source import RowSource
from unlocked.errors import DataError

Prepare = Callable[[np.ndarray, np.ndarray], Tensor]


class RowTensor(Tensor):
    """`(n, *in_shape)`: has the shape, dtype and device of a tensor; its rows are read, and made what the net sees,
    when they are asked for: `x[rows]`, `x[3:9]`, `x.index_select(0, rows)`, `x.min()`, `x.max()`, `x.to(device)`.

    Whatever else needs all of it at once raises `DataError`, one line.

    Args:
        source: of the raw inputs.
        prepare: `(raw, rows)` to inputs as the net sees them, on the CPU; row by row.
        content: one word for all the rows and what is made of them, for digests.
        in_shape: of one input as the net sees it; None: that of a raw one.
    """

    source: RowSource
    prepare: Prepare
    content: str

    @staticmethod
    def __new__(
        cls: type[RowTensor],
        source: RowSource,
        prepare: Prepare,
        content: str,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        in_shape: tuple[int, ...] | None = None,
    ) -> RowTensor:
        shape = source.shape if in_shape is None else (len(source), *in_shape)
        self: RowTensor = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=torch.device(device))
        self.source, self.prepare, self.content = source, prepare, content
        return self

    def read(self, rows: Tensor, draw: int | None = None) -> Tensor:
        """The inputs of `rows (m,)`, in their order, on the device of this tensor; `draw`: for a minibatch of training,
        seeds what is made by chance."""
        index = rows.cpu().numpy()
        raw = self.source.read(index) if draw is None else self.source.drawn(index, draw)
        out = self.prepare(raw, index)
        return out.to(device=self.device, dtype=self.dtype)

    def whole(self) -> Tensor:
        """All rows, in memory."""
        out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        first = 0
        for block in self.in_blocks():
            out[first : first + len(block)] = block
            first += len(block)
        return out

    def in_blocks(self) -> Iterator[Tensor]:
        """All rows in order, some at a time."""
        for rows, raw in self.raw_blocks():
            yield self.prepare(raw, rows).to(device=self.device, dtype=self.dtype)

    def raw_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows in order, some at a time: their numbers, and what the source has."""
        for first, raw in self.source.blocks():
            yield np.arange(first, first + len(raw)), raw

    @property
    def nbytes(self) -> int:  # type: ignore[override]
        """Held in memory: of the list of rows alone."""
        return 8 * len(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"RowTensor({self.source.what}, shape={tuple(self.shape)})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        given = (self.source, self.prepare, self.content, self.dtype, str(self.device), tuple(self.shape[1:]))
        return RowTensor, given

    def __deepcopy__(self, memo: Any) -> RowTensor:
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        answer = _ANSWERS.get(func)
        if answer is None:  # of operations made of others, those are asked
            made = func.decompose(*args, **(kwargs or {}))
            if made is not NotImplemented:
                return made
        if answer is None or not isinstance(args[0], RowTensor):
            name = next(str(each.source.what) for each in _in(args) if isinstance(each, RowTensor))
            what = str(func).removeprefix("aten.").partition(".")[0]
            raise DataError(
                f"{name}: {what} needs all of x at once, and its rows are read when a minibatch asks for them; "
                "memory: loaded holds them, if they fit"
            )
        with torch.inference_mode(False):  # a view has a version counter, which inference tensors lack
            return answer(*args, **(kwargs or {}))


def is_read(x: Any) -> bool:
    """Whether inputs stay in their files."""
    return isinstance(x, RowTensor)


def _in(args: Any) -> Any:
    for each in args:
        if isinstance(each, (list, tuple)):
            yield from _in(each)
        else:
            yield each


def _index_select(x: RowTensor, dim: int, rows: Tensor) -> Tensor:
    return x.read(rows) if dim == 0 else x.whole().index_select(dim, rows)


def _index(x: RowTensor, at: list[Tensor | None]) -> Tensor:
    rows, *rest = at
    if rows is None or rest:
        raise DataError(f"{x.source.what}: its rows are read one by one; index them alone, x[rows]")
    if rows.dtype is torch.bool:
        rows = rows.nonzero().flatten()
    return x.read(torch.where(rows < 0, rows + len(x), rows).flatten()).view(*rows.shape, *x.shape[1:])


def _select(x: RowTensor, dim: int, at: int) -> Tensor:
    if dim:
        raise DataError(f"{x.source.what}: its rows are read one by one; index them first, x[rows]")
    return x.read(torch.tensor([at % len(x)]))[0]


def _slice(x: RowTensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    if dim:
        raise DataError(f"{x.source.what}: its rows are read one by one; index them first, x[rows]")
    if not start and step == 1 and (end is None or end == sys.maxsize):  # x[:]
        return _to_copy(x)
    rows = range(len(x))[slice(start, end, step)]
    return x.read(torch.arange(rows.start, rows.stop, rows.step))


def _to_copy(x: RowTensor, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> RowTensor:
    return RowTensor(x.source, x.prepare, x.content, dtype or x.dtype, device or x.device, tuple(x.shape[1:]))


_aten = torch.ops.aten
_ANSWERS: dict[Any, Callable[..., Any]] = {
    _aten.index_select.default: _index_select,
    _aten.index.Tensor: _index,
    _aten.select.int: _select,
    _aten.slice.Tensor: _slice,
    _aten._to_copy.default: _to_copy,
    _aten.detach.default: _to_copy,
    _aten.alias.default: _to_copy,
    _aten.min.default: lambda x: torch.stack([block.min() for block in x.in_blocks()]).min(),
    _aten.max.default: lambda x: torch.stack([block.max() for block in x.in_blocks()]).max(),
}
