"""Where the heads of a Neural Turing Machine look: Graves, Wayne and Danihelka 2014, arXiv:1410.5401, section 3.3.

w_c(i) = softmax_i(beta K[k, M(i)]),   K the cosine                  (5, 6)
w_g    = g w_c + (1 - g) w_{t-1}                                     (7)
w~(i)  = sum_j w_g(j) s(i - j),        j around the circle           (8)
w(i)   = w~(i)^gamma / sum_j w~(j)^gamma                             (9)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-16  # beside the squared length of a row of zeros
TINY = 1e-30  # beside a weight of 0, of which there is no logarithm


def by_content(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """w_c: `memory (batch, rows, width)`, `key (batch, heads, width)`, `strength (batch, heads, 1)`, at least 0, to
    `(batch, heads, rows)`."""
    length = (memory.square().sum(-1) + EPSILON).rsqrt()  # one over it, (batch, rows)
    unit = key * (key.square().sum(-1, keepdim=True) + EPSILON).rsqrt()
    cosine = (unit * strength) @ memory.transpose(1, 2) * length[:, None]
    out: Tensor = cosine.softmax(-1)
    return out


def sharpened(w: Tensor, gamma: Tensor) -> Tensor:
    """w^gamma over its sum: so written, small weights do not vanish, and the gradient of a power is cheap."""
    out: Tensor = (gamma * (w + TINY).log()).softmax(-1)
    return out


class Addressing(nn.Module):
    """Weights over `rows` of a memory, for several heads at once, from what the controller says of each.

    A head is told by `size` numbers: k (tanh), beta (softplus), g (sigmoid), s (softmax over `2 shift + 1` places,
    from `shift` rows back to as many on), gamma (1 + softplus).
    """

    def __init__(self, rows: int, width: int, shift: int):
        super().__init__()
        self.width, self.reach = width, 2 * shift + 1
        # of place p: row j, column i is 1 where j moves to i
        moves = [torch.eye(rows).roll(p - shift, 1) for p in range(self.reach)]
        self.register_buffer("moves", torch.cat(moves, 1), persistent=False)  # no weight: it follows from its formula

    moves: Tensor  # (rows, reach x rows)

    @property
    def size(self) -> int:
        return self.width + 3 + self.reach

    def forward(self, said: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        """`said (batch, heads, size)`, `memory (batch, rows, width)`, weights `before (batch, heads, rows)`, to the
        weights now."""
        key, strength, gate, shift, sharpness = said.split([self.width, 1, 1, self.reach, 1], -1)
        content = by_content(memory, key.tanh(), F.softplus(strength))
        w = torch.lerp(before, content, gate.sigmoid())
        moved = (w @ self.moves).unflatten(-1, (self.reach, -1))  # (batch, heads, reach, rows)
        w = (shift.softmax(-1)[..., None, :] @ moved).squeeze(-2)
        return sharpened(w, 1 + F.softplus(sharpness))
