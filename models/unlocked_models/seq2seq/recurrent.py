"""Encoder-decoder recurrent networks: sequences of tokens to sequences of tokens, with attention or without.

The chain:

    encoder layers      source ids (S,) to memory (S, width); one way, or both ways, each of half the width
    decoder layers      memory (S, width) to [memory, states] (S + T, width): one tensor crosses every boundary, so the
                        memory rides in front of the decoder's states, along the axis of positions
    Luong attention     [memory, states] to the same shape: each state combined with its context
    head                [memory, states] to logits (T, n_outputs)

Under teacher forcing (Williams & Zipser 1989) the decoder reads the true tokens one position late: <s> y_1 .. y_(T-1),
from `batch.y`, where the first decoder layer embeds them; inside `stepping.remembering` it reads `batch.y` itself, <s>
first. What is padding in the source is taken from `batch.x`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.alignment import Score, score
from unlocked_models.layers.sequences import Pool, present, read_sequence
from unlocked_models.recurrent import Ends, PaddedLayer, State, run_from

BOS = 1  # the id that a decoder begins with

CELLS: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@register_model("seq2seq", family="seq2seq")
def seq2seq(
    in_shape: tuple[int, ...],
    n_outputs: int,
    cell: str = "gru",
    encoder: int = 1,
    decoder: int = 1,
    width: int = 64,
    embedding: int = 64,
    bidirectional: bool = True,
    attention: str = "bahdanau",
    dropout: float = 0.0,
    teacher_forcing: float = 1.0,
    sampling_steps: int = 0,
    vocabulary: int | None = None,
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """Recurrent encoder-decoder (Sutskever et al. 2014, arXiv:1409.3215; Bahdanau et al. 2014; Luong et al. 2015).

    Shapes: source ids `(batch, S)`, or features `(batch, S, features)` such as the columns of a picture, with the
    targets `(batch, T)` of the batch, to logits `(batch, T, n_outputs)`.

    Options: `cell` rnn, lstm or gru; `encoder`, `decoder` layers of each; `width` of every state and of the memory;
    `embedding` width of a token on either side; `bidirectional`: encoder layers read both ways, each half the width;
    `attention`: none (all that the decoder knows of the source is the state it starts in), bahdanau (the first decoder
    layer attends with its last state and reads the context), or dot, bilinear, mlp (Luong's scores, behind the
    last decoder layer, without input feeding); `dropout` in [0, 1), after each layer.

    `teacher_forcing`: the probability with which the decoder is given the true token. Below 1 it is otherwise given
    one drawn from its own output of the step before (scheduled sampling, Bengio et al. 2015, arXiv:1506.03099), in
    training only; over the first `sampling_steps` minibatches the probability falls to it from 1, linearly. A decoder
    that reads what its head gave cannot be cut before the head: its layers, attention and head are then one block, the
    last of the chain. The draws are torch's, seeded before every step by whoever trains the chain.

    >>> len(seq2seq((7,), 12, encoder=2, attention="dot", vocabulary=20, out_positions=6))
    5
    """
    checks.outputs("seq2seq", n_outputs)
    for key, value in (("encoder", encoder), ("decoder", decoder), ("width", width)):
        checks.whole(key, value)
    checks.whole("sampling_steps", sampling_steps, least=0)
    checks.fraction("dropout", dropout)
    if not 0 <= teacher_forcing <= 1:
        raise ValueError(f"model.teacher_forcing: must be from 0 to 1, got {teacher_forcing!r}")
    if sampling_steps and teacher_forcing == 1:
        raise ValueError(
            f"model.sampling_steps: {sampling_steps} with model.teacher_forcing 1, at which nothing is drawn"
        )
    if bidirectional and width % 2:
        raise ValueError(f"model.width: {width} is odd; a bidirectional encoder has half of it each way")
    make = checks.pick(CELLS, "cell", cell)
    checks.pick({"none": 0, "bahdanau": 0, "dot": 0, "bilinear": 0, "mlp": 0}, "attention", attention)
    if (
        vocabulary is not None or out_positions is None or len(in_shape) != 2
    ):  # else it writes of a sequence of features
        refuse_other_data("seq2seq", vocabulary, out_positions)

    read, _, n_in = read_sequence("seq2seq", in_shape, vocabulary, embedding)
    for i in range(encoder):
        one_way = width // (2 if bidirectional else 1)
        yield EncoderLayer(make, n_in, one_way, bidirectional, dropout, None if i else read)
        n_in = width

    def decoders() -> Iterator[DecoderPart]:
        n_in = embedding
        for i in range(decoder):
            words = None if i else nn.Embedding(n_outputs, embedding, padding_idx=0)
            layer = BahdanauLayer if attention == "bahdanau" and i == 0 else DecoderLayer
            yield layer(make, n_in, width, bidirectional, dropout, words)
            n_in = width
        if attention not in ("none", "bahdanau"):
            yield LuongAttention(score(attention, width), width)

    if teacher_forcing < 1:
        yield ScheduledSampling(list(decoders()), Head(width, n_outputs), teacher_forcing, sampling_steps)
        return
    yield from decoders()
    yield Head(width, n_outputs)


def refuse_other_data(model: str, vocabulary: int | None, out_positions: int | None) -> None:
    """`ValueError` if examples are not pairs of token sequences."""
    if vocabulary is None or out_positions is None:
        what = "inputs are real numbers" if vocabulary is None else "targets have no positions"
        raise ValueError(f"model.name: {model} makes a sequence of tokens of a sequence of tokens; the data's {what}")


def decoder_inputs(y: Tensor) -> Tensor:
    """What a decoder is given under teacher forcing, `(batch, T)`: the targets one position late, <s> before them."""
    return torch.cat([y.new_full((len(y), 1), BOS), y[:, :-1]], 1)


def decoder_reads(layer: Stepping, y: Tensor) -> Tensor:
    """The tokens at the positions that the first layer of a decoder is given."""
    return decoder_inputs(y) if layer.kept is None else y


def memory_and_states(h: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """`(batch, S + T, width)` apart."""
    assert batch.x is not None
    source = batch.x.shape[1]
    return h[:, :source], h[:, source:]


class EncoderLayer(PaddedLayer):
    """A recurrent layer over the source, as long as each sentence is; memory after its end is zero."""

    encodes = True


class DecoderPart(Stepping, ABC):
    """A block of the decoder: `[memory, states]` to the same, with new states.

    `begin` gives what it starts from, tensors `(batch, ...)` by name: what it makes of the memory, once for all
    positions, and the state of its recurrence before the first. `advance` goes on from there over any number of
    positions: all of them under teacher forcing, one by one where the decoder reads what it wrote.
    """

    def __init__(self, words: nn.Embedding | None = None):
        super().__init__()
        self.words = words

    @property
    def starts_decoder(self) -> bool:
        """Whether it is the first: its input is the memory alone, and it embeds the decoder's tokens."""
        return self.words is not None

    @abstractmethod
    def begin(self, memory: Tensor, there: Tensor) -> State:
        """Of memory `(batch, S, width)` whose positions `there (batch, S)` are no padding."""

    @abstractmethod
    def advance(self, inputs: Tensor, memory: Tensor, there: Tensor, state: State) -> tuple[Tensor, State]:
        """`inputs (batch, t, features)` to states `(batch, t, width)`, and what the next positions go on from."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        if self.words is None:
            memory, inputs = memory_and_states(h, batch)
        else:
            memory, inputs = h, self.words(decoder_reads(self, batch.y))
        there = present(batch)
        begun = self.kept.tensors if self.kept is not None and self.kept.tensors else self.begin(memory, there)
        states, last = self.advance(inputs, memory, there, begun)
        if self.kept is not None:
            self.kept.tensors = last
        return torch.cat([memory, states], 1)


class Bridge(nn.Module):
    """The state that a decoder starts in: tanh(W s + b), s the state (of each direction) in which the encoder ended;
    of an LSTM c = W' s + b' beside it."""

    def __init__(self, width: int, bidirectional: bool, with_cell: bool):
        super().__init__()
        self.summary = Ends() if bidirectional else Pool("last")
        self.h = nn.Linear(width, width)
        self.c = nn.Linear(width, width) if with_cell else None

    def forward(self, memory: Tensor, there: Tensor) -> State:
        s = self.summary(memory, there)
        h = torch.tanh(self.h(s))
        return {"h": h} if self.c is None else {"h": h, "c": self.c(s)}


class DecoderLayer(DecoderPart):
    """A recurrent layer that starts in a state made of the encoder's last."""

    def __init__(
        self,
        cell: Callable[..., nn.Module],
        n_in: int,
        width: int,
        bidirectional: bool,
        dropout: float,
        words: nn.Embedding | None,
    ):
        super().__init__(words)
        self.cell = cell(n_in + self.reads(width), width, batch_first=True)
        self.bridge = Bridge(width, bidirectional, isinstance(self.cell, nn.LSTM))
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def reads(width: int) -> int:
        """Features at each position beside the inputs."""
        return 0

    def begin(self, memory: Tensor, there: Tensor) -> State:
        out: dict[str, Tensor] = self.bridge(memory, there)
        return out

    def advance(self, inputs: Tensor, memory: Tensor, there: Tensor, state: State) -> tuple[Tensor, State]:
        states, last = run_from(self.cell, inputs, state)
        return self.dropout(states), last


class BahdanauLayer(DecoderLayer):
    """Attention before the step (Bahdanau et al. 2014, section 3.1 and appendix A):

    c_i = sum_j softmax_j(v . tanh(W s_(i-1) + U h_j)) h_j
    s_i = cell([E y_(i-1); c_i], s_(i-1))
    out_i = tanh(O [s_i; c_i; E y_(i-1)])       the deep output; a tanh in the place of maxout
    """

    def __init__(
        self,
        cell: Callable[..., nn.Module],
        n_in: int,
        width: int,
        bidirectional: bool,
        dropout: float,
        words: nn.Embedding | None,
    ):
        super().__init__(cell, n_in, width, bidirectional, dropout, words)
        self.score = score("mlp", width)
        self.out = nn.Linear(2 * width + n_in, width)

    @staticmethod
    def reads(width: int) -> int:
        return width  # the context

    def begin(self, memory: Tensor, there: Tensor) -> State:
        return {**super().begin(memory, there), "keys": self.score.keys(memory)}

    def advance(self, inputs: Tensor, memory: Tensor, there: Tensor, state: State) -> tuple[Tensor, State]:
        state, seen = dict(state), []
        keys = state.pop("keys")
        for x in inputs.split(1, 1):  # (batch, 1, features)
            context = self.score(state["h"][:, None], keys, there) @ memory  # (batch, 1, width)
            s, state = run_from(self.cell, torch.cat([x, context], -1), state)
            seen.append(torch.cat([s, context, x], -1))
        return self.dropout(torch.tanh(self.out(torch.cat(seen, 1)))), {**state, "keys": keys}


class LuongAttention(DecoderPart):
    """Attention after the step (Luong et al. 2015, section 3.1, global):

    out_i = tanh(W [c_i; s_i])      c_i the context of s_i
    """

    def __init__(self, score: Score, width: int):
        super().__init__()
        self.score = score
        self.combine = nn.Linear(2 * width, width, bias=False)

    def begin(self, memory: Tensor, there: Tensor) -> State:
        return {"keys": self.score.keys(memory)}

    def advance(self, inputs: Tensor, memory: Tensor, there: Tensor, state: State) -> tuple[Tensor, State]:
        context = self.score(inputs, state["keys"], there) @ memory
        return torch.tanh(self.combine(torch.cat([context, inputs], -1))), state


class Head(nn.Module):
    """Logits `(batch, T, n_outputs)` of the decoder's states, normalised first where a `norm` is given."""

    takes_pieces = True

    def __init__(self, width: int, n_outputs: int, norm: nn.Module | None = None):
        super().__init__()
        self.norm = norm
        self.linear = nn.Linear(width, n_outputs)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        states = memory_and_states(h, batch)[1]
        out: Tensor = self.linear(states if self.norm is None else self.norm(states))
        return out


class ScheduledSampling(nn.Module):
    """Decoder and head in one block, `memory (batch, S, width)` to logits `(batch, T, n_outputs)`.

    In training position i reads y_(i-1) with probability p, drawn for each token, else one drawn from softmax(logits of
    position i - 1), through which no gradient passes (Bengio et al. 2015, section 2.4). p falls linearly from 1 to
    `least` over `steps` forward passes in training, counted in the buffer `seen`, and stays there. In evaluation every
    position reads the true token.
    """

    starts_decoder = True
    takes_pieces = True
    seen: Tensor

    def __init__(self, parts: list[DecoderPart], head: Head, least: float, steps: int):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.head = head
        self.least, self.steps = least, steps
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def probability(self) -> Tensor:
        """p of the next minibatch."""
        done = (self.seen / self.steps).clamp(max=1.0) if self.steps else torch.ones((), device=self.seen.device)
        return 1 - (1 - self.least) * done

    def forward(self, memory: Tensor, batch: Batch) -> Tensor:
        if not self.training:
            h = memory
            for part in self.parts:
                h = part(h, batch)
            out: Tensor = self.head(h, batch)
            return out
        there, p = present(batch), self.probability()
        self.seen += 1
        words = self.parts[0].words
        assert isinstance(words, nn.Embedding)
        states = [part.begin(memory, there) for part in self.parts]  # type: ignore[operator]
        token, logits = batch.y.new_full((len(memory),), BOS), []
        for true in batch.y.unbind(1):
            h = words(token)[:, None]
            for i, part in enumerate(self.parts):
                h, states[i] = part.advance(h, memory, there, states[i])  # type: ignore[operator]
            logits.append(self.head.linear(h))
            own = torch.multinomial(logits[-1].detach()[:, 0].softmax(-1), 1)[:, 0]
            token = torch.where(torch.rand(true.shape, device=p.device) < p, true, own)
        return torch.cat(logits, 1)
