"""Jordan network: what it said at the last position is what it remembers (Jordan 1986, "Attractor dynamics and
parallelism in a connectionist sequential machine").

    s_t = memory s_{t-1} + o_{t-1}                state units, which see the outputs; s_1 = 0
    h_t = tanh(W x_t + U s_t + b)
    o_t = V h_t + c

An Elman network (`rnn`) remembers h instead. Its outputs feed back, so hidden layer and output are one block; what
reads the inputs is another.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.basic import sequence
from unlocked_models.layers.sequences import read_sequence


class JordanLayer(Stepping):
    """`(batch, positions, features)` to outputs `(batch, positions, outputs)`, or the last of them."""

    def __init__(self, n_in: int, hidden: int, n_outputs: int, memory: float, many: bool):
        super().__init__()
        self.memory, self.many = memory, many
        self.features, self.out = nn.Linear(n_in, hidden), nn.Linear(hidden, n_outputs)
        self.state = nn.Linear(n_outputs, hidden, bias=False)
        self.takes_pieces = many

    @property
    def projection(self) -> nn.Linear:
        """What makes the outputs of the last hidden state."""
        return self.out

    def forward(self, h: Tensor) -> Tensor:
        s = h.new_zeros(len(h), self.out.out_features)
        if self.kept is not None and "s" in self.kept.tensors:
            s = self.kept.tensors["s"]
        said = []
        for driven in self.features(h).unbind(1):
            o = self.out((driven + self.state(s)).tanh())
            s = self.memory * s + o
            said.append(o)
        if self.kept is not None:
            self.kept.tensors["s"] = s
        return torch.stack(said, 1) if self.many else said[-1]


@register_model("jordan", family="recurrent")
def jordan(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 32,
    hidden: int = 64,
    memory: float = 0.5,
    embedding: int = 64,
    vocabulary: int | None = None,
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """Jordan network (Jordan 1986): its state is a fading sum of its own outputs.

    Shapes: `(batch, positions, features)`, a series or token ids `(batch, positions)`, or an image, read row by row, to
    `(batch, n_outputs)`, or `(batch, positions, n_outputs)` where the targets have positions. Two blocks: a layer of
    each position by itself, and the network.

    Options: `width` of the first layer, `hidden` of the network's; `memory` in [0, 1), how much of its state remains;
    `embedding` width of a token.

    >>> len(jordan((1, 8, 8), 10))
    2
    """
    checks.outputs("jordan", n_outputs)
    checks.whole("width", width)
    checks.whole("hidden", hidden)
    checks.fraction("memory", memory)
    read, _, n_in = read_sequence("jordan", in_shape, vocabulary, embedding)
    yield sequence(read, nn.Linear(n_in, width), nn.Tanh())
    yield JordanLayer(width, hidden, n_outputs, memory, out_positions is not None)
