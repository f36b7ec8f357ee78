"""A minibatch as blocks and tasks see it, and the shapes of one example, for dry passes.

Inputs and targets are always there. What else a data set or a transform gives with its examples (edges of a graph, a
mask, lengths of sequences, negative samples) goes by name: `batch["edge_index"]`, an extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unlocked_models.contract.registry import UnknownName, unknown

LENGTHS = "lengths"
HIDDEN = "hidden"  # which patches of an image are, (batch, patches), if it is masked
EDGES, EDGE_FEATURES, EDGE_WEIGHTS = (
    "edge_index",
    "edge_attr",
    "edge_weight",
)  # of graphs; unlocked_models.graph says how they lie


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of several lengths in one tensor: row i is `values[offsets[i]:offsets[i + 1]]`.

    `values (all, ...)`; `offsets (rows + 1,)`, int64, from 0 up to the number of values.

    >>> words = Ragged(torch.arange(6), torch.tensor([0, 2, 2, 6]))
    >>> [row.tolist() for row in words.rows(torch.tensor([2, 0]))]
    [[2, 3, 4, 5], [0, 1]]
    """

    values: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Tensor:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Tensor:
        """Of the rows, `(rows,)`."""
        return self.offsets.diff()

    def rows(self, index: Tensor) -> Ragged:
        """The rows of `index (n,)`, in its order."""
        index = index.to(self.offsets.device)
        starts, lengths = self.offsets[:-1][index], self.lengths[index]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(self.values[torch.arange(len(shift), device=shift.device) + shift], offsets)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Ragged:
        """As `Tensor.to`; `dtype` changes real numbers only."""
        real = dtype if self.values.is_floating_point() else None
        return Ragged(self.values.to(device=device, dtype=real), self.offsets.to(device=device))


Extra = Tensor | Ragged


def rows_of(extras: Mapping[str, Extra], index: Tensor) -> dict[str, Extra]:
    """The rows of `index (n,)` of every extra."""
    return {
        name: extra.rows(index) if isinstance(extra, Ragged) else extra.index_select(0, index.to(extra.device))
        for name, extra in extras.items()
    }


def moved(
    extras: Mapping[str, Extra], device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> dict[str, Extra]:
    """The extras on another device; `dtype` changes real numbers only."""

    def one(extra: Extra) -> Extra:
        if isinstance(extra, Ragged):
            return extra.to(device, dtype)
        return extra.to(device=device, dtype=dtype if extra.is_floating_point() else None)

    return {name: one(extra) for name, extra in extras.items()}


@dataclass
class Batch:
    """One minibatch as a worker sees it: inputs `x (batch, *in_shape)`, None if its worker holds none, and targets
    `y (batch, ...)`.

    `batch["name"]` is an extra, each with an axis of examples first. `progress`: how much of the run lies before this
    minibatch, from 0 up to 1, for whatever grows or fades with it; 1 outside training. Streams begin with the
    minibatch if it is `fresh`, and end with it if it `ends`. Of one replica's part of a minibatch, `whole` has the
    targets of all of it, if the loss is to look at them.
    """

    x: Tensor | None
    y: Tensor
    fresh: bool = True
    ends: bool = True
    whole: Tensor | None = None
    progress: float = 1.0
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The extra of that name, a tensor or `Ragged`; raises `UnknownName`, with the nearest match."""
        if name not in self.extras:
            raise UnknownName(unknown("extra of the batch", name, list(self.extras)))
        return self.extras[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.extras.get(name, default)

    @property
    def lengths(self) -> Tensor | None:
        """Positions of each sequence that are no padding, `(batch,)`, if the data says so."""
        out: Tensor | None = self.get(LENGTHS)
        return out

    def state(self) -> dict[str, Any]:
        """Of tensors and plain values alone, for a checkpoint; `whole` is not kept."""
        extras = {
            name: {"values": extra.values, "offsets": extra.offsets} if isinstance(extra, Ragged) else extra
            for name, extra in self.extras.items()
        }
        return {
            "x": self.x,
            "y": self.y,
            "fresh": self.fresh,
            "ends": self.ends,
            "progress": self.progress,
            "extras": extras,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any] | tuple[Any, ...]) -> Batch:
        """From `state()`, or from the tuple that checkpoints of version 0.1 hold."""
        if isinstance(state, tuple):
            x, y, fresh, ends, _, lengths = state
            return cls(x, y, fresh, ends, extras={} if lengths is None else {LENGTHS: lengths})
        extras = {
            name: Ragged(extra["values"], extra["offsets"]) if isinstance(extra, Mapping) else extra
            for name, extra in state["extras"].items()
        }
        return cls(**{**state, "extras": extras})


@dataclass(frozen=True)
class ExtraShape:
    """Of one example's extra: its `shape` without the axis of examples (of `Ragged`, that of one value). A dry pass
    sees it filled with `fill`."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    ragged: bool = False
    fill: int = 0

    @classmethod
    def of(cls, name: str, extra: Extra) -> ExtraShape:
        values = extra.values if isinstance(extra, Ragged) else extra
        # of no positions at all a layer can make nothing
        fill = 1 if name == LENGTHS else 0
        return cls(name, tuple(values.shape[1:]), values.dtype, isinstance(extra, Ragged), fill)

    def made(self, n: int, device: torch.device | str, dtype: torch.dtype) -> Extra:
        """For `n` examples; real numbers in `dtype`. A ragged row has one value."""
        dtype = dtype if self.dtype.is_floating_point else self.dtype
        values = torch.full((n, *self.shape), self.fill, device=device, dtype=dtype)
        return Ragged(values, torch.arange(n + 1, device=device)) if self.ragged else values


@dataclass(frozen=True)
class Example:
    """What one example of a data set looks like, without the batch axis.

    Inputs are real numbers, or ids below `vocabulary`. Targets are class ids, `n_outputs` real values each, or, if
    `y_shape` has an axis of positions, ids below `n_outputs` at each. `masked`: inputs are hidden where a target asks
    for them. `extras`: what the batch has beside them.
    """

    in_shape: tuple[int, ...]
    n_outputs: int
    vocabulary: int | None = None
    y_shape: tuple[int, ...] = ()
    y_real: bool = False
    masked: bool = False
    extras: tuple[ExtraShape, ...] = ()

    @property
    def out_positions(self) -> int | None:
        """Positions at which there is a target; None if there is one for the whole example."""
        return self.y_shape[0] if self.y_shape and not self.y_real else None

    @property
    def has_lengths(self) -> bool:
        """Whether the batch says how long each sequence is."""
        return any(extra.name == LENGTHS for extra in self.extras)

    @property
    def edge_features(self) -> int | None:
        """Features of each edge of a graph; None if edges have none."""
        return next((extra.shape[-1] for extra in self.extras if extra.name == EDGE_FEATURES and extra.shape), None)

    def with_extras(self, extras: Mapping[str, Extra]) -> Example:
        """The same example with these extras, in place of those of the same names."""
        shapes = {extra.name: extra for extra in self.extras}
        return replace(self, extras=(*(shapes | _shapes(extras.items())).values(),))

    def batch(self, n: int = 2, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Batch:
        """`n` examples of zeros, for a dry pass."""
        x = torch.zeros(n, *self.in_shape, device=device, dtype=torch.long if self.vocabulary else dtype)
        y = torch.zeros(n, *self.y_shape, device=device, dtype=dtype if self.y_real else torch.long)
        return Batch(x, y, extras={extra.name: extra.made(n, device, dtype) for extra in self.extras})


def _shapes(extras: Iterable[tuple[str, Extra]]) -> dict[str, ExtraShape]:
    return {name: ExtraShape.of(name, extra) for name, extra in extras}
