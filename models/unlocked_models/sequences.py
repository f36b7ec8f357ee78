"""What sequence models share: examples as sequences, positions, and one vector out of many."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unlocked_models import checks


def steps_of(in_shape: tuple[int, ...]) -> tuple[int, int]:
    """`(positions, features)` of an example: a sequence as it is, a series of numbers one by one, an image row by row."""
    if len(in_shape) == 1:
        return in_shape[0], 1
    if len(in_shape) == 2:
        return in_shape[0], in_shape[1]
    if len(in_shape) == 3:
        return in_shape[1], in_shape[0] * in_shape[2]
    raise ValueError(f"model.name: a sequence model takes series, sequences or images, the data has examples of shape "
                     f"{tuple(in_shape)}")


class AsSequence(nn.Module):
    """`(batch, *in_shape)` to `(batch, positions, features)`, as `steps_of` says."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x[:, :, None]
        return x if x.dim() == 3 else x.transpose(1, 2).flatten(2)


class Patches(nn.Module):
    """Images `(batch, channels, height, width)` to the sequence of their `size` x `size` patches, row by row."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.unfold(x, self.size, stride=self.size).transpose(1, 2)


class Positions(nn.Module):
    """Adds to every position a vector of its own.

    `learned` from small random numbers, or `sinusoidal` (Vaswani et al. 2017, section 3.5): sin and cos of
    p / 10000^(2i / width) in turn; `none` adds nothing.
    """

    def __init__(self, kind: str, positions: int, width: int):
        super().__init__()
        checks.pick({"learned": 0, "sinusoidal": 0, "none": 0}, "positions", kind)
        self.table: Tensor | None = None
        if kind == "learned":
            self.table = nn.Parameter(0.02 * torch.randn(positions, width))
        elif kind == "sinusoidal":
            rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
            angle = torch.arange(positions)[:, None] * rate
            self.register_buffer("table", torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width])

    def forward(self, h: Tensor) -> Tensor:
        return h if self.table is None else h + self.table


class Pool(nn.Module):
    """`(batch, positions, features)` to `(batch, features)`: their mean, the last one, or the greatest of each."""

    def __init__(self, kind: str):
        super().__init__()
        checks.pick({"mean": 0, "last": 0, "max": 0}, "pool", kind)
        self.kind = kind

    def forward(self, h: Tensor) -> Tensor:
        if self.kind == "mean":
            return h.mean(1)
        return h[:, -1] if self.kind == "last" else h.amax(1)
