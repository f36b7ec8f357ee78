"""The LSTM layers that `torch.nn` does not have: peephole connections, coupled input and forget gates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class GatedLayer(nn.Module):
    """A layer of LSTM cells; without both options it computes what `nn.LSTM` computes.

        i = sigma(W_i x + U_i h + p_i c + b_i)      f = sigma(W_f x + U_f h + p_f c + b_f)
        c' = f c + i tanh(W_g x + U_g h + b_g)      o = sigma(W_o x + U_o h + p_o c' + b_o)
        h' = o tanh(c')

    `peephole` (Gers & Schmidhuber 2000): the gates see the cell through p, a vector each; without it p = 0.
    `coupled` (Greff et al. 2017, CIFG): f = 1 - i, with no weights of its own.

    Shapes: `(batch, positions, n_in)` to `(batch, positions, width)`, twice the width where it reads both ways; where
    it reads one way, from a state `(h, c)` to the last one, each `(1, batch, width)` as torch has them.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        peephole: bool,
        coupled: bool,
        bidirectional: bool = False,
        batch_first: bool = True,
    ):
        super().__init__()
        assert batch_first
        self.hidden_size = width
        self.ways = nn.ModuleList(_OneWay(n_in, width, peephole, coupled) for _ in range(1 + bidirectional))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        out, last = self.ways[0](x, state)
        if len(self.ways) == 1:
            return out, last
        back, _ = self.ways[1](x.flip(1), None)
        return torch.cat([out, back.flip(1)], -1), None


class _OneWay(nn.Module):
    def __init__(self, n_in: int, width: int, peephole: bool, coupled: bool):
        super().__init__()
        self.width, self.gates = width, 3 if coupled else 4  # i, (f,) g, o
        bound = 1 / math.sqrt(width)  # as torch's cells begin

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.weight_ih, self.weight_hh = uniform(self.gates * width, n_in), uniform(self.gates * width, width)
        self.bias = nn.Parameter(torch.zeros(self.gates * width))
        self.peephole = uniform(self.gates - 1, width) if peephole else None  # of i, (f,) o

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        h, c = (x.new_zeros(len(x), self.width),) * 2 if state is None else (part[0] for part in state)
        p = self.peephole
        driven = nn.functional.linear(x, self.weight_ih, self.bias).unbind(1)  # of all positions at once
        states = []
        for now in driven:
            i, *f, g, o = torch.addmm(now, h, self.weight_hh.t()).chunk(self.gates, 1)
            i = torch.sigmoid(i if p is None else i + p[0] * c)
            keep = torch.sigmoid(f[0] if p is None else f[0] + p[1] * c) if f else 1 - i
            c = keep * c + i * torch.tanh(g)
            h = torch.sigmoid(o if p is None else o + p[-1] * c) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, 1), (h[None], c[None])
