"""Neural Turing Machine: a controller that reads and writes a memory (Graves et al. 2014, arXiv:1410.5401).

At every position, with M_{t-1} the memory, `(rows, width)`:

    h_t = controller([x_t, r_{t-1}])                an LSTM cell, or tanh(W [x_t, r_{t-1}] + b)
    w_t = address(h_t, M_{t-1}, w_{t-1})            one for every head (`addressing`)
    r_t = sum_i w_t^r(i) M_{t-1}(i)                 of every read head                                    (2)
    M_t(i) = M_{t-1}(i) prod (1 - w_t^w(i) e_t) + sum w_t^w(i) a_t     over the write heads               (3, 4)

and [h_t, r_t] goes on to the next block. All heads look at the same M_{t-1}, so their order means nothing. A stream
begins with small equal numbers in the memory (Collier and Beel 2018, arXiv:1807.08518), every head at row 0, and zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.sequences import Head, PaddedHead, Pool, Reader, is_padded, read_sequence
from unlocked_models.memory.addressing import Addressing

CONTROLLERS = ("lstm", "feedforward")
BLANK = 1e-6  # of every number of an empty memory


@dataclass
class Step:
    """What one step leaves: all of the state, each `(batch, ...)`."""

    memory: Tensor  # (batch, rows, width)
    weights: Tensor  # (batch, heads, rows): those that read, then those that write
    read: Tensor  # (batch, reads x width)
    controller: tuple[Tensor, ...]  # h, and c of an LSTM


class TuringLayer(Stepping):
    """`(batch, positions, features)`, or what `read` makes so, to `[h_t, r_t]` at every position."""

    def __init__(
        self,
        n_in: int,
        controller: str,
        hidden: int,
        memory: tuple[int, int],
        heads: tuple[int, int],
        shift: int,
        biases: tuple[float, float, float, float],
        read: Reader | None,
    ):
        """`biases` that heads start with: of the strength beta, of the gate g, of a shift by one row on, of the
        sharpness gamma."""
        super().__init__()
        self.read = read
        self.rows, self.columns = memory
        self.hidden, self.reads, self.writes = hidden, *heads
        seen = n_in + self.reads * self.columns
        self.controller = nn.LSTMCell(seen, hidden) if controller == "lstm" else nn.Linear(seen, hidden)
        self.address = Addressing(self.rows, self.columns, shift)
        self.said = (self.reads + self.writes) * self.address.size  # of where; then of what
        self.interface = nn.Linear(hidden, self.said + 2 * self.writes * self.columns)
        with torch.no_grad():
            strength, gate, onward, sharpness = biases
            told = self.interface.bias[: self.said].view(-1, self.address.size)
            told[:, self.columns] += strength
            told[:, self.columns + 1] = gate
            told[:, self.columns + 3 + shift] += onward
            told[:, -1] += sharpness

    @property
    def width(self) -> int:
        return self.hidden + self.reads * self.columns

    @property
    def state_size(self) -> int:
        return sum(self._sizes())

    def forward(self, h: Tensor) -> Tensor:
        if self.kept is None:
            count, positions = used(h), h.shape[1]
            out = self.run(h[:, :count], None)[0]
            return out if count == positions else nn.functional.pad(out, (0, 0, 0, positions - count))
        out, self.kept.tensors["state"] = self.run(h, self.kept.tensors.get("state"))
        return out

    def run(self, h: Tensor, state: Tensor | None, seen: list[Step] | None = None) -> tuple[Tensor, Tensor]:
        """From a state `(batch, state_size)`, None for the start of a stream, over positions: outputs, and the state
        it ends in. `seen` is given every step."""
        x = h if self.read is None else self.read(h)
        now = self._unpacked(x.new_zeros(len(x), 0) if state is None else state)
        outputs = []
        for x_t in x.unbind(1):
            now = self.step(x_t, now)
            outputs.append(torch.cat([now.controller[0], now.read], -1))
            if seen is not None:
                seen.append(now)
        last = [now.memory.flatten(1), now.weights.flatten(1), now.read, *now.controller]
        return torch.stack(outputs, 1), torch.cat(last, -1)

    def memory_over_time(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of sequences from the start: where it reads and where it writes at every position, both
        `(batch, positions, rows)`, the sum over the heads, and the memory after the last, `(batch, rows, columns)`."""
        steps: list[Step] = []
        self.run(h, None, steps)
        weights = torch.stack([each.weights for each in steps], 1)
        reading, writing = weights.split([self.reads, self.writes], 2)
        return reading.sum(2), writing.sum(2), steps[-1].memory

    def step(self, x: Tensor, now: Step) -> Step:
        driven = torch.cat([x, now.read], -1)
        if isinstance(self.controller, nn.LSTMCell):
            control = self.controller(driven, now.controller)
        else:
            control = (self.controller(driven).tanh(),)
        told = self.interface(control[0]).to(now.memory.dtype)
        with torch.autocast(told.device.type, enabled=False):  # the products are small, and a memory adds up for long
            return self._remembered(told, control, now)

    def _remembered(self, told: Tensor, control: tuple[Tensor, ...], now: Step) -> Step:
        where, what = told.tensor_split([self.said], -1)
        weights = self.address(where.unflatten(-1, (-1, self.address.size)), now.memory, now.weights)
        reading, writing = weights.split([self.reads, self.writes], 1)
        read = (reading @ now.memory).flatten(1)
        erase, add = what.unflatten(-1, (2, self.writes, self.columns)).unbind(1)
        gone = writing[..., None] * erase.sigmoid()[:, :, None]  # (batch, heads, rows, columns)
        kept = 1 - gone[:, 0] if self.writes == 1 else (1 - gone).prod(1)
        return Step(torch.baddbmm(now.memory * kept, writing.transpose(1, 2), add), weights, read, control)

    def _sizes(self) -> list[int]:
        states = 2 if isinstance(self.controller, nn.LSTMCell) else 1
        heads, reads = self.reads + self.writes, self.reads * self.columns
        return [self.rows * self.columns, heads * self.rows, reads, *[self.hidden] * states]

    def _unpacked(self, state: Tensor) -> Step:
        """Of a state; one of no numbers is the start."""
        if not state.shape[1]:
            memory, weights, *rest = (state.new_zeros(len(state), size) for size in self._sizes())
            memory = memory + BLANK
            weights = weights.unflatten(1, (-1, self.rows))
            weights = torch.cat([weights[..., :1] + 1, weights[..., 1:]], -1)
        else:
            memory, weights, *rest = state.split(self._sizes(), -1)
            weights = weights.unflatten(1, (-1, self.rows))
        return Step(memory.unflatten(1, (self.rows, -1)), weights, rest[0], tuple(rest[1:]))


def used(h: Tensor) -> int:
    """Positions before those that are padding in all sequences of token ids, which need not be read. Elsewhere than on
    a CPU all of them: to count would be to wait for the device."""
    if h.is_floating_point() or h.device.type != "cpu":
        return h.shape[1]
    there = (h != 0).any(0).nonzero()
    return int(there[-1]) + 1 if len(there) else h.shape[1]


class CarryingTuring(TuringLayer):
    """A machine that goes on with the memory that it had at the end of the last window."""

    carried: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        if self.kept is not None:  # a text of its own, not the stream
            return super().forward(h)
        out, self.carried = self.run(h, None if self.carried is None else self.carried[: len(h)])
        return out


@register_model("ntm", family="memory", pictured=True)
def ntm(
    in_shape: tuple[int, ...],
    n_outputs: int,
    controller: str = "lstm",
    hidden: int = 100,
    rows: int = 128,
    columns: int = 20,
    reads: int = 1,
    writes: int = 1,
    shift: int = 1,
    strength_bias: float = 0.0,
    gate_bias: float = 0.0,
    shift_bias: float = 0.0,
    sharp_bias: float = 0.0,
    pool: str = "last",
    padded: bool = False,
    embedding: int = 16,
    carry: bool = False,
    vocabulary: int | None = None,
    out_positions: int | None = None,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Neural Turing Machine (Graves et al. 2014): a controller, and heads that read and write a memory.

    Shapes: `(batch, positions, features)`, a series or token ids `(batch, positions)`, or an image, read row by row, to
    `(batch, n_outputs)`, or `(batch, positions, n_outputs)` where the targets have positions. Two blocks: the machine
    and the head.

    Options: `controller` lstm or feedforward, of `hidden` units; the memory has `rows` of `columns` numbers; `reads`
    and `writes`, the number of heads; `shift`: a head moves at most so many rows by place; `strength_bias` above 0: the
    row that is most like a head's key first stands out more; `gate_bias`: where the bias of the gate g starts, below 0
    for heads that first go by place, above for heads that first go by content; `shift_bias` above 0: heads first go on
    by a row at each position; `sharp_bias` above 0: heads first lose less of the row they are at; `pool` what the head
    sees: last, mean or max over the positions; `padded`: sequences of features are filled up to one length (as of rnn);
    `embedding` width of a token; `carry`: truncated backpropagation through time over windows, each going on with the
    memory in which the one before it ended.

    >>> [sum(p.numel() for p in block.parameters()) for block in ntm((9, 3), 5, hidden=8, rows=6, columns=4)]
    [720, 65]
    """
    checks.outputs("ntm", n_outputs)
    checks.pick(dict.fromkeys(CONTROLLERS), "controller", controller)
    for key, value in {
        "hidden": hidden,
        "rows": rows,
        "columns": columns,
        "reads": reads,
        "writes": writes,
        "shift": shift,
    }.items():
        checks.whole(key, value)
    if 2 * shift + 1 > rows:
        raise ValueError(f"model.shift: {shift} rows back and on are more than the memory's {rows} (model.rows)")
    pooling: nn.Module | None = Pool(pool)  # a wrong name is an error in every case
    read, _, n_in = read_sequence("ntm", in_shape, vocabulary, embedding)
    many = out_positions is not None
    if many and padded:
        raise ValueError("model.padded: unnecessary with per-position targets; remove it")
    if carry and not many:
        raise ValueError(
            "model.carry: windows continue each other only if every position has a target, as in language modelling"
        )
    padded = not many and (vocabulary is not None or is_padded(padded, has_lengths))
    kind = CarryingTuring if carry else TuringLayer
    biases = (strength_bias, gate_bias, shift_bias, sharp_bias)
    machine = kind(n_in, controller, hidden, (rows, columns), (reads, writes), shift, biases, read)
    yield machine
    yield (PaddedHead if padded else Head)(None if many else pooling, machine.width, n_outputs)
