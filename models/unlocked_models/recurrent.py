"""Recurrent networks that read a sequence and give one output: Elman RNN, LSTM and GRU, on `torch.nn`'s cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unlocked_models import checks
from unlocked_models.registry import register_model
from unlocked_models.sequences import AsSequence, Pool, steps_of


@register_model("rnn", family="recurrent")
def rnn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    activation: str = "tanh",
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
) -> list[nn.Module]:
    """Elman network (Elman 1990): h_t = phi(W x_t + b + U h_{t-1} + c), layer upon layer.

    Shapes: `(batch, positions, features)`, a series `(batch, positions)` or an image, read row by row, to
    `(batch, n_outputs)`. One block per layer, which passes its whole sequence of states on, and one for the head.

    Options: `hidden` widths of the layers; `activation` tanh or relu; `bidirectional`: every layer reads both ways and
    passes both on (Schuster & Paliwal 1997), `hidden` is the width of each; `dropout` in [0, 1), after each layer;
    `pool` what the head sees: last, the state in which each direction ends; mean or max over the positions.

    >>> len(rnn((40,), 10, hidden=[32, 32, 32]))
    4
    """
    checks.pick({"tanh": 0, "relu": 0}, "activation", activation)
    return _stack("rnn", nn.RNN, in_shape, n_outputs, hidden, bidirectional, dropout, pool, nonlinearity=activation)


@register_model("lstm", family="recurrent")
def lstm(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
    forget_bias: float = 1.0,
) -> list[nn.Module]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Shapes: as `rnn`. Options: as `rnn`, without activation, and `forget_bias`, at which the forget gate's bias starts
    (Jozefowicz et al. 2015: 1, so that memory is kept until something else is learned).
    """
    blocks = _stack("lstm", nn.LSTM, in_shape, n_outputs, hidden, bidirectional, dropout, pool)
    with torch.no_grad():
        for block in blocks:
            for name, p in block.named_parameters():
                if ".bias_ih_" in name or ".bias_hh_" in name:  # gates i, f, g, o; the two biases add up
                    width = len(p) // 4
                    p[width:2 * width] = forget_bias if ".bias_ih_" in name else 0.0
    return blocks


@register_model("gru", family="recurrent")
def gru(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
) -> list[nn.Module]:
    """Gated recurrent unit (Cho et al. 2014). Shapes: as `rnn`. Options: as `rnn`, without activation."""
    return _stack("gru", nn.GRU, in_shape, n_outputs, hidden, bidirectional, dropout, pool)


class Layer(nn.Module):
    """One recurrent layer: `(batch, positions, features)` to the sequence of its states, from a zero state."""

    def __init__(self, cell: type[nn.RNNBase], n_in: int, width: int, bidirectional: bool, dropout: float, first: bool,
                 **options: Any):
        super().__init__()
        self.shape = AsSequence() if first else None
        self.cell = cell(n_in, width, batch_first=True, bidirectional=bidirectional, **options)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, h: Tensor) -> Tensor:
        out, _ = self.cell(h if self.shape is None else self.shape(h))
        return out if self.dropout is None else self.dropout(out)


class Ends(nn.Module):
    """The states in which a bidirectional layer ends: the last of one half of the features, the first of the other."""

    def forward(self, h: Tensor) -> Tensor:
        forward, backward = h.chunk(2, -1)
        return torch.cat([forward[:, -1], backward[:, 0]], -1)


def _stack(name: str, cell: type[nn.RNNBase], in_shape: tuple[int, ...], n_outputs: int, hidden: list[int],
           bidirectional: bool, dropout: float, pool: str, **options: Any) -> list[nn.Module]:
    checks.outputs(name, n_outputs)
    checks.sizes("hidden", hidden, least_many=1)
    checks.fraction("dropout", dropout)
    _, n_in = steps_of(in_shape)
    pooling: nn.Module = Pool(pool)  # a wrong name is an error in both directions
    blocks: list[nn.Module] = []
    for width in hidden:
        blocks.append(Layer(cell, n_in, width, bidirectional, dropout, first=not blocks, **options))
        n_in = width * (2 if bidirectional else 1)
    if bidirectional and pool == "last":
        pooling = Ends()
    return [*blocks, nn.Sequential(pooling, nn.Linear(n_in, n_outputs))]
