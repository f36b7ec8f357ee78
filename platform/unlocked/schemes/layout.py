"""Layout: how the hidden state h at a boundary lies beside something else of the same example.

Direct feedback brings errors to h, M sees h beside a context, I guesses h from the network's input, a decoder gives the
input back from h. All of them ask the same two questions. What is h, by its shape?

    vector      one place: whatever is neither of the next two, flattened
    positions   (positions, features): a sequence, the nodes of a graph; weights that act on it are shared by them
    maps        (channels, height, width): weights that act on it are shared by its pixels

And how do the places of h stand to those of the other?

    same     place by place: as many positions, or two maps (at any two resolutions a pixel covers others)
    end      h has more positions: its last ones are the other's. Those before, such as an encoder's memory in front of
             a decoder's states, are only looked at, and get what concerns all: the sum of errors, the mean of contexts
    apart    the positions of h are none of the other's (a block that `encodes`), or are fewer: each gets what concerns
             all
    pooled   the other has no such places: it is of h as a whole, as an output that pools h, or as h is a vector

A position without a target (id 0, or behind the length of its sequence) is a fact of one minibatch, so it is no
relation: its error is zero, and `Layout.pool` leaves it out. What a scheme makes of its own for every position, a
projected error or M's word, is `without_padding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked_models.contract.batch import EDGES, Batch, Example

Shape = tuple[int, ...]  # of one example, without the batch axis
Kind = Literal["vector", "positions", "maps"]
Relation = Literal["same", "end", "apart", "pooled"]


@dataclass(frozen=True)
class Layout:
    """Of h, whose shape is `shape`, beside the `other`; `apart`: the positions of h are none of the other's.

    >>> Layout((6, 32), (4, 100)).relation  # 2 positions of an encoder's memory, then the 4 of the targets
    'end'
    >>> Layout((16, 14, 14), (10,)).kind, Layout((16, 14, 14), (10,)).relation
    ('maps', 'pooled')
    """

    shape: Shape
    other: Shape = ()
    apart: bool = False

    @property
    def kind(self) -> Kind:
        return "positions" if len(self.shape) == 2 else "maps" if len(self.shape) == 3 else "vector"

    @property
    def relation(self) -> Relation:
        if self.kind == "vector" or len(self.other) != len(self.shape):
            return "pooled"
        if self.kind == "maps":
            return "same"
        if self.apart or self.other[0] > self.shape[0]:
            return "apart"
        return "same" if self.other[0] == self.shape[0] else "end"

    @property
    def by_place(self) -> bool:
        """Whether the other says something of single places of h."""
        return self.relation in ("same", "end")

    @property
    def features(self) -> int:
        """Numbers of h at one place."""
        if self.kind == "vector":
            return math.prod(self.shape)
        return self.shape[0] if self.kind == "maps" else self.shape[1]

    @property
    def other_features(self) -> int:
        """Numbers of the other at one of its places; of one without places, all."""
        if self.relation == "pooled":
            return math.prod(self.other)
        return self.other[0] if self.kind == "maps" else self.other[-1]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of what a pixel of h covers of the other's map."""
        return -(-self.other[-2] // self.shape[-2]), -(-self.other[-1] // self.shape[-1])

    def at_positions(self, given: Tensor, whole: Tensor) -> Tensor:
        """Of the other, `given (batch, its positions, features)`, what each position of h gets; `whole (batch, 1,
        features)` is what concerns all."""
        if self.relation == "same":
            return given
        if self.relation == "apart":
            return whole.expand(-1, self.shape[0], -1)
        return torch.cat([whole.expand(-1, self.shape[0] - self.other[0], -1), given], 1)

    def at_pixels(self, given: Tensor) -> Tensor:
        """Of the other's map, `given (batch, channels, height, width)`, all that each pixel of h covers: `(batch,
        pixels of h, channels x patch)`. Pixels of h that lie in the same one of the other get the same."""
        (height, width), patch = self.shape[-2:], self.patch
        if height > given.shape[2] or width > given.shape[3]:
            given = F.interpolate(given, (max(height, given.shape[2]), max(width, given.shape[3])))
        given = F.pad(given, (0, width * patch[1] - given.shape[3], 0, height * patch[0] - given.shape[2]))
        return F.unfold(given, patch, stride=patch).transpose(1, 2)

    def at_resolution(self, given: Tensor) -> Tensor:
        """The other's map as means over what each pixel of h covers: `(batch, channels, height and width of h)`."""
        return F.adaptive_avg_pool2d(given, (self.shape[-2], self.shape[-1]))

    def pool(self, h: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`h (batch, *shape)` as one vector per example, `(batch, features)`: the mean over its places, of a sequence
        over those before its length."""
        if self.kind == "vector":
            return h.flatten(1)
        if self.kind == "maps":
            return h.mean((2, 3))
        if lengths is None or self.apart:
            return h.mean(1)
        real = torch.arange(h.shape[1], device=h.device) < lengths[:, None]  # (batch, positions)
        return (h * real[:, :, None]).sum(1) / lengths.clamp(min=1)[:, None].to(h.dtype)


def pads(example: Example) -> bool:
    """Whether examples are sequences that say how long they are. Nodes of a graph are others: their layers give
    nothing at filling, and take no gradient from there."""
    graph = any(extra.name == EDGES for extra in example.extras)
    return example.has_lengths and not graph and len(example.in_shape) <= 2


def has_padding(shape: Shape, example: Example) -> bool:
    """Whether the places of an h of this shape are the positions of such sequences."""
    return pads(example) and len(shape) == 2 and shape[0] == example.in_shape[0]


def without_padding(g: Tensor, batch: Batch | None, example: Example) -> Tensor:
    """`g (batch, positions, features)` with zeros after the end of each sequence, if g has the positions of the inputs
    and the batch says how long they are."""
    if batch is None or batch.lengths is None or not has_padding(tuple(g.shape[1:]), example):
        return g
    real = torch.arange(g.shape[1], device=g.device) < batch.lengths[:, None]
    return g * real[:, :, None]
