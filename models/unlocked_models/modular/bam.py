"""Bidirectional associative memory (Kosko 1988): pairs of patterns, of which either one recalls the other.

States are of -1 and 1, `(n, a)` on one side and `(n, b)` on the other. Hebb's rule stores the pairs in one matrix, and
the sides take turns until neither changes:

    W = sum_m x_m y_m^T                                  (7)
    y = sign(x W),   x = sign(y W^T)                     a unit whose input is 0 stays as it is
    E = -x W y^T                                         never grows (18)

No layers and no gradient: no scheme trains it. What joins codes of real numbers, under every scheme, is the association
of `two_way`.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_TURNS = 200


def hebbian(first: Tensor, second: Tensor) -> Tensor:
    """The weights `(a, b)` that store the pairs of `first (n, a)` and `second (n, b)`."""
    return first.T @ second


def energy(W: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of states `(n, a)` and `(n, b)`: `(n,)`."""
    return -((first @ W) * second).sum(1)


def recalled(W: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Where both sides come to rest; `second` answers first. A side that nothing is known of begins as zeros."""
    for _ in range(MOST_TURNS):
        before = first, second
        second = _turned(first @ W, second)
        first = _turned(second @ W.T, first)
        if torch.equal(first, before[0]) and torch.equal(second, before[1]):
            break
    return first, second


def _turned(drive: Tensor, state: Tensor) -> Tensor:
    return torch.where(drive == 0, state, drive.sign())
