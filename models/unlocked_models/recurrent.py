"""Recurrent networks over sequences: Elman RNN, LSTM and GRU, on `torch.nn`'s cells.

One block per layer, which passes its whole sequence of states on, and one for the head. What they read and give follows
from the data:

* many to one: a class or values for a whole sequence, from the pooled states;
* many to many: logits at every position, where the targets have positions (language modelling). Layers then read one
  way only, or they would see their targets.

Sequences are `(positions, features)`, a series `(positions,)`, an image, read row by row, or token ids `(positions,)`,
which the first block embeds. Sequences of several lengths are filled up, token ids with 0 and features with anything
(the data says how long each is): padding is not pooled, and a layer that reads both ways is given each sequence as long
as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.lstm import GatedLayer
from unlocked_models.layers.sequences import Head, PaddedHead, Pool, Reader, is_padded, lengths, read_sequence

State = dict[str, Tensor]  # of a recurrent layer: h, and c of an LSTM, each (batch, width)


@register_model("rnn", family="recurrent")
def rnn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    activation: str = "tanh",
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
    padded: bool = False,
    embedding: int = 64,
    carry: bool = False,
    dropout_kind: str = "unit",
    vocabulary: int | None = None,
    out_positions: int | None = None,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Elman network (Elman 1990): h_t = phi(W x_t + b + U h_{t-1} + c), layer upon layer.

    Shapes: `(batch, positions, features)`, a series or token ids `(batch, positions)`, or an image, read row by row, to
    `(batch, n_outputs)`, or `(batch, positions, n_outputs)` where the targets have positions.

    Options: `hidden` widths of the layers; `activation` tanh or relu; `bidirectional`: every layer reads both ways and
    passes both on (Schuster & Paliwal 1997), `hidden` is the width of each; `dropout` in [0, 1), after each layer;
    `pool` what the head sees: last, the state in which each direction ends; mean or max over the positions; `padded`:
    sequences of features are filled up to one length, which the data has to say of each (of itself if it does; those
    of tokens always may be); `embedding` width of a token; `carry`: truncated backpropagation through time over windows
    of a long text, each going on in the state in which the one before it ended; `dropout_kind` unit, or recurrent: the
    same units of a sequence are left out at all of its positions (Gal & Ghahramani 2016, arXiv:1512.05287).

    >>> len(rnn((40,), 10, hidden=[32, 32, 32]))
    4
    """
    checks.pick({"tanh": 0, "relu": 0}, "activation", activation)
    yield from _stack(
        "rnn",
        partial(nn.RNN, nonlinearity=activation),
        in_shape,
        n_outputs,
        hidden,
        bidirectional,
        dropout,
        pool,
        padded,
        embedding,
        carry,
        dropout_kind,
        vocabulary,
        out_positions,
        has_lengths,
    )


@register_model("lstm", family="recurrent")
def lstm(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
    padded: bool = False,
    embedding: int = 64,
    carry: bool = False,
    dropout_kind: str = "unit",
    forget_bias: float = 1.0,
    peephole: bool = False,
    coupled: bool = False,
    vocabulary: int | None = None,
    out_positions: int | None = None,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    Shapes: as `rnn`. Options: as `rnn`, without activation, and `forget_bias`, at which the forget gate's bias starts
    (Jozefowicz et al. 2015: 1, so that memory is kept until something else is learned); `peephole`: the gates see the
    cell (Gers & Schmidhuber 2000); `coupled`: what is let in is what is forgotten, f = 1 - i (Greff et al. 2017). These
    two run step by step in Python, several times slower, and read both ways over sequences of one length only.
    """
    cell: Callable[..., nn.Module] = nn.LSTM
    if peephole or coupled:
        if bidirectional and (padded or vocabulary or has_lengths):
            raise ValueError(
                "model.bidirectional: cells with peephole or coupled gates read backwards over sequences "
                "of one length only, without padding"
            )
        cell = partial(GatedLayer, peephole=peephole, coupled=coupled)
    blocks = _stack(
        "lstm",
        cell,
        in_shape,
        n_outputs,
        hidden,
        bidirectional,
        dropout,
        pool,
        padded,
        embedding,
        carry,
        dropout_kind,
        vocabulary,
        out_positions,
        has_lengths,
    )
    for block in blocks:
        if not coupled:
            _start_remembering(block, forget_bias)
        yield block


def _start_remembering(block: nn.Module, forget_bias: float) -> None:
    with torch.no_grad():
        for name, p in block.named_parameters():
            if ".bias" in name and ".cell." in f".{name}":  # gates i, f, g, o
                width = len(p) // 4
                p[width : 2 * width] = 0.0 if ".bias_hh_" in name else forget_bias  # torch's two biases add up


@register_model("gru", family="recurrent")
def gru(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    bidirectional: bool = False,
    dropout: float = 0.0,
    pool: str = "last",
    padded: bool = False,
    embedding: int = 64,
    carry: bool = False,
    dropout_kind: str = "unit",
    vocabulary: int | None = None,
    out_positions: int | None = None,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Gated recurrent unit (Cho et al. 2014). Shapes: as `rnn`. Options: as `rnn`, without activation."""
    yield from _stack(
        "gru",
        nn.GRU,
        in_shape,
        n_outputs,
        hidden,
        bidirectional,
        dropout,
        pool,
        padded,
        embedding,
        carry,
        dropout_kind,
        vocabulary,
        out_positions,
        has_lengths,
    )


def run_from(cell: nn.Module, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """A cell of one direction over `inputs (batch, positions, features)`, from a state, empty for zeros: its states
    `(batch, positions, width)`, and the one that it ends in."""
    begin = tuple(part[None].contiguous() for part in state.values())
    out, last = cell(inputs, (begin if len(begin) > 1 else begin[0]) if begin else None)
    return out, {name: part[0] for name, part in zip("hc", last if isinstance(last, tuple) else (last,), strict=False)}


class RecurrentDropout(nn.Module):
    """`(batch, positions, features)`: the same features of an example are zero at all positions."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, h: Tensor) -> Tensor:
        return h * nn.functional.dropout(torch.ones_like(h[:, :1]), self.p, self.training)


DROPOUTS: dict[str, Callable[[float], nn.Module]] = {"unit": nn.Dropout, "recurrent": RecurrentDropout}


class Layer(Stepping):
    """One recurrent layer: `(batch, positions, features)` to the sequence of its states, from a zero state."""

    def __init__(
        self,
        cell: Callable[..., nn.Module],
        n_in: int,
        width: int,
        bidirectional: bool,
        dropout: float,
        read: Reader | None,
        drops: Callable[[float], nn.Module] = nn.Dropout,
    ):
        super().__init__()
        self.read = read  # of the first layer
        self.width = width
        self.cell = cell(n_in, width, batch_first=True, bidirectional=bidirectional)
        self.dropout = drops(dropout) if dropout else None
        self.takes_pieces = not bidirectional

    def forward(self, h: Tensor) -> Tensor:
        if self.kept is None:
            return self._dropped(self.cell(self._sequence(h))[0])
        out, self.kept.tensors = run_from(self.cell, self._sequence(h), self.kept.tensors)
        return self._dropped(out)

    def _sequence(self, h: Tensor) -> Tensor:
        return h if self.read is None else self.read(h)

    def _dropped(self, h: Tensor) -> Tensor:
        return h if self.dropout is None else self.dropout(h)


class PaddedLayer(Layer):
    """A layer that reads each sequence as long as it is; states after its end are zero."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.takes_pieces = False  # where a sequence ends is to be known before it is read

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        packed = pack_padded_sequence(self._sequence(h), lengths(batch).cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True, total_length=h.shape[1])
        return self._dropped(out)


class CarryingLayer(Layer):
    """A layer that starts in the state in which it ended the last window: h, and beside it c of an LSTM."""

    carried: Tensor | None = None

    @property
    def state_size(self) -> int:
        return self.width * (2 if self._has_cell() else 1)

    def forward(self, h: Tensor) -> Tensor:
        if self.kept is not None:  # a text of its own, not the stream
            return super().forward(h)
        parts = () if self.carried is None else self.carried[: len(h)].split(self.width, -1)
        out, last = run_from(self.cell, self._sequence(h), dict(zip("hc", parts, strict=False)))
        self.carried = torch.cat(list(last.values()), -1)
        return self._dropped(out)

    def _has_cell(self) -> bool:
        return isinstance(self.cell, (nn.LSTM, GatedLayer))


class Ends(nn.Module):
    """The states in which a bidirectional layer ends: the last of one half of the features, the first of the other."""

    def forward(self, h: Tensor, there: Tensor | None = None) -> Tensor:
        forward, backward = h.chunk(2, -1)
        return torch.cat([Pool("last")(forward, there), backward[:, 0]], -1)


def _stack(
    name: str,
    cell: Callable[..., nn.Module],
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int],
    bidirectional: bool,
    dropout: float,
    pool: str,
    padded: bool,
    embedding: int,
    carry: bool,
    dropout_kind: str,
    vocabulary: int | None,
    out_positions: int | None,
    has_lengths: bool | None,
) -> Iterator[nn.Module]:
    checks.outputs(name, n_outputs)
    checks.sizes("hidden", hidden, least_many=1)
    checks.fraction("dropout", dropout)
    drops = checks.pick(DROPOUTS, "dropout_kind", dropout_kind)
    read, _, n_in = read_sequence(name, in_shape, vocabulary, embedding)
    many = out_positions is not None
    pooling: nn.Module | None = Pool(pool)  # a wrong name is an error in every case
    if many:
        if bidirectional:
            raise ValueError("model.bidirectional: layers that read backwards would see their targets")
        if padded:
            raise ValueError("model.padded: unnecessary with per-position targets; remove it")
        pooling = None
    elif bidirectional and pool == "last":
        pooling = Ends()
    if carry and not many:
        raise ValueError(
            "model.carry: windows continue each other only if every position has a target, as in language modelling"
        )
    padded = not many and (vocabulary is not None or is_padded(padded, has_lengths))
    kind = PaddedLayer if padded and bidirectional else CarryingLayer if carry else Layer
    for k, width in enumerate(hidden):
        yield kind(cell, n_in, width, bidirectional, dropout, None if k else read, drops)
        n_in = width * (2 if bidirectional else 1)
    yield (PaddedHead if padded else Head)(pooling, n_in, n_outputs)
