"""What sequence models share: examples as sequences, positions, and one vector out of many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import HIDDEN, Batch
from unlocked_models.contract.stepping import Stepping


def steps_of(in_shape: tuple[int, ...]) -> tuple[int, int]:
    """`(positions, features)` of an example: a sequence as it is, a series number by number, an image row by row."""
    if len(in_shape) == 1:
        return in_shape[0], 1
    if len(in_shape) == 2:
        return in_shape[0], in_shape[1]
    if len(in_shape) == 3:
        return in_shape[1], in_shape[0] * in_shape[2]
    raise ValueError(
        f"model.name: a sequence model takes series, sequences or images, the data has examples of shape "
        f"{tuple(in_shape)}"
    )


class AsSequence(nn.Module):
    """`(batch, *in_shape)` to `(batch, positions, features)`, as `steps_of` says."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x[:, :, None]
        return x if x.dim() == 3 else x.transpose(1, 2).flatten(2)


Reader = AsSequence | nn.Embedding


def read_sequence(
    model: str, in_shape: tuple[int, ...], vocabulary: int | None, embedding: int
) -> tuple[Reader, int, int]:
    """What turns inputs into `(batch, positions, features)`, with the number of positions and of features.

    Ids below `vocabulary` are embedded in `embedding` features, of which those of id 0, the padding, are zero.
    """
    if vocabulary is None:
        return AsSequence(), *steps_of(in_shape)
    checks.whole("embedding", embedding)
    if len(in_shape) != 1:
        raise ValueError(
            f"model.name: {model} takes sequences of token ids (positions,), the data has examples of "
            f"shape {tuple(in_shape)}"
        )
    return nn.Embedding(vocabulary, embedding, padding_idx=0), in_shape[0], embedding


def first_embedding(blocks: Sequence[nn.Module]) -> nn.Embedding | None:
    """The layer of the first block that has a vector for every id of the inputs; None if there is none."""
    layers = blocks[0].modules() if len(blocks) else ()
    return next((layer for layer in layers if isinstance(layer, nn.Embedding)), None)


def present(batch: Batch) -> Tensor:
    """Which positions of the inputs are no padding, `(batch, positions)`: as many as the batch's `lengths`; without
    those, up to the last token that is not 0, or the last row of features that are not all zero. At least the first of
    every sequence."""
    x = batch.x
    assert x is not None
    if batch.lengths is not None:
        count = x.shape[1] if x.dim() == 2 or not x.is_floating_point() else AsSequence()(x).shape[1]
        return torch.arange(count, device=x.device) < batch.lengths[:, None]
    there = x != 0 if not x.is_floating_point() else (AsSequence()(x) != 0).any(-1)
    there = there.flip(1).cumsum(1).flip(1) > 0
    there[:, 0] = True
    return there


def lengths(batch: Batch) -> Tensor:
    """Positions of each sequence that are no padding, `(batch,)`."""
    return present(batch).sum(1)


def is_padded(padded: bool, has_lengths: bool | None) -> bool:
    """Whether sequences of features are filled up: as the model is told, or as the data says.

    Padding cannot be told from values: rows of zeros are other rows once they are normalised, and a sequence may hold
    zeros of its own. Raises `ValueError` if the data is known to give no lengths.
    """
    if padded and has_lengths is False:
        raise ValueError(
            "model.padded: true, but the data does not say how long its sequences are; its function "
            "returns RawData(..., lengths_train=..., lengths_test=...)"
        )
    return padded or bool(has_lengths)


class Patches(nn.Module):
    """Images `(batch, channels, height, width)` to the sequence of their `size` x `size` patches, row by row."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.unfold(x, self.size, stride=self.size).transpose(1, 2)


def images_of(patches: Tensor, size: int, shape: Sequence[int]) -> Tensor:
    """Images of `shape` (height, width) of what `Patches` makes of them."""
    return nn.functional.fold(patches.transpose(1, 2), tuple(shape), size, stride=size)


class MaskedEmbedding(nn.Module):
    """Patches, of which those that the batch says are hidden become zero, and what is added `after`."""

    def __init__(self, read: nn.Sequential, after: nn.Sequential):
        super().__init__()
        self.read, self.rest = read, after  # in the order of their weights, as `transfer` takes them over

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        h = self.read(x)
        hidden = batch.get(HIDDEN)
        out: Tensor = self.rest(h if hidden is None else h.masked_fill(hidden[:, :, None], 0.0))
        return out


class Positions(Stepping):
    """Adds to every position a vector of its own.

    `learned` from small random numbers, or `sinusoidal` (Vaswani et al. 2017, section 3.5): sin and cos of
    p / 10000^(2i / width) in turn; `none` adds nothing.

    Raises `ValueError` for a sequence that goes beyond the last position.
    """

    def __init__(self, kind: str, positions: int, width: int):
        super().__init__()
        checks.pick({"learned": 0, "sinusoidal": 0, "none": 0}, "positions", kind)
        self.table: Tensor | None
        if kind == "learned":
            self.table = nn.Parameter(0.02 * torch.randn(positions, width))
        elif kind == "sinusoidal":
            rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
            angle = torch.arange(positions)[:, None] * rate
            table = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]
            self.register_buffer("table", table, persistent=False)  # no weight: it follows from its formula
        else:
            self.table = None

    def forward(self, h: Tensor) -> Tensor:
        if self.table is None:
            return h
        first, count = 0 if self.kept is None else self.kept.positions, h.shape[1]
        if first + count > len(self.table):
            raise ValueError(
                f"model.positions: a sequence of {first + count} positions, this model has {len(self.table)}"
            )
        if self.kept is not None:
            self.kept.positions += count
        return h + self.table[first : first + count]


class Pool(nn.Module):
    """`(batch, positions, features)` to `(batch, features)`: their mean, the last one, or the greatest of each.

    Of the positions that are there, `(batch, positions)`, if some are padding.
    """

    def __init__(self, kind: str):
        super().__init__()
        checks.pick({"mean": 0, "last": 0, "max": 0}, "pool", kind)
        self.kind = kind

    def forward(self, h: Tensor, there: Tensor | None = None) -> Tensor:
        if there is None:
            return h.mean(1) if self.kind == "mean" else h[:, -1] if self.kind == "last" else h.amax(1)
        if self.kind == "last":
            return h.gather(1, (there.sum(1) - 1)[:, None, None].expand(-1, 1, h.shape[2]))[:, 0]
        if self.kind == "max":
            return h.masked_fill(~there[:, :, None], -torch.inf).amax(1)
        return (h * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)


class Last(nn.Module):
    """The vectors of the last positions, so many: those of the patches, behind a class token."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, h: Tensor) -> Tensor:
        return h[:, -self.count :]


class Head(nn.Module):
    """The outputs of one vector per sequence, or (`pool` None) of every position, normalised first by `norm`."""

    def __init__(self, pool: nn.Module | None, n_in: int, n_outputs: int, norm: nn.Module | None = None):
        super().__init__()
        self.norm = norm
        self.pool = pool
        self.linear = nn.Linear(n_in, n_outputs)
        self.takes_pieces = pool is None

    @property
    def projection(self) -> nn.Linear:
        """What makes the outputs of the last hidden state."""
        return self.linear

    def forward(self, h: Tensor) -> Tensor:
        h = self._normed(h)
        out: Tensor = self.linear(h if self.pool is None else self.pool(h))
        return out

    def _normed(self, h: Tensor) -> Tensor:
        return h if self.norm is None else self.norm(h)


class PaddedHead(Head):
    """The outputs of the vectors that are no padding."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        assert self.pool is not None
        out: Tensor = self.linear(self.pool(self._normed(h), present(batch)))
        return out
