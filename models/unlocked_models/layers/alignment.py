"""Attention of recurrent decoders: scores that align a decoder's state with an encoder's memory.

    weights_ij = softmax over the source positions j of score(s_i, h_j),    context_i = sum_j weights_ij h_j

Scores by name:

    dot        s . h                         (Luong et al. 2015, arXiv:1508.04025, eq. 8)
    bilinear   s . W h                       ("general" there)
    mlp        v . tanh(W s + U h)           ("concat" there, with W and U side by side; the alignment model of
                                             Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2)

What distinguishes the two papers is the state that asks: the one before the step, whose context the step then reads
(Bahdanau), or the one after it, which is combined with its context (Luong).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlocked_models.contract.checks import pick


class Score(nn.Module):
    """Queries `(batch, t, width)` and keys `(batch, S, width)` to weights `(batch, t, S)`, which sum to one over the
    positions that are `there (batch, S)` and are zero elsewhere.

    Keys are what `keys(memory)` makes of the memory, once for all queries. Whoever looks for attention maps finds them
    as the output of every layer that `gives_weights`.
    """

    gives_weights = True

    def keys(self, memory: Tensor) -> Tensor:
        return memory

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """`(batch, t, S)`."""
        return query @ keys.transpose(1, 2)

    def forward(self, query: Tensor, keys: Tensor, there: Tensor) -> Tensor:
        return self.score(query, keys).masked_fill(~there[:, None], -torch.inf).softmax(-1)


class Dot(Score):
    """s . h"""

    def __init__(self, width: int):
        super().__init__()


class Bilinear(Score):
    """s . W h"""

    def __init__(self, width: int):
        super().__init__()
        self.W = nn.Linear(width, width, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        out: Tensor = self.W(memory)
        return out


class Additive(Score):
    """v . tanh(W s + U h)"""

    def __init__(self, width: int):
        super().__init__()
        self.W = nn.Linear(width, width, bias=False)
        self.U = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        out: Tensor = self.U(memory)
        return out

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        beside = torch.tanh(self.W(query)[:, :, None] + keys[:, None])  # (batch, t, S, width)
        out: Tensor = self.v(beside).squeeze(-1)
        return out


SCORES: dict[str, type[Dot] | type[Bilinear] | type[Additive]] = {"dot": Dot, "bilinear": Bilinear, "mlp": Additive}


def score(name: str, width: int) -> Score:
    return pick(SCORES, "attention", name)(width)
