"""The encoder-decoder Transformer with cross attention (Vaswani et al. 2017, arXiv:1706.03762) as a chain.

    embedding           source ids (S,) to vectors with positions (S, width)
    encoder layers      (S, width) to the same
    target embedding    memory (S, width) to [memory, decoder inputs] (S + T, width)
    decoder layers      [memory, states] to the same, with new states: causal attention over the states, attention over
                        the memory, a feed-forward network
    head                [memory, states] to logits (T, n_outputs)

As in `seq2seq` one tensor crosses every boundary, the decoder reads the targets of the batch one position late, and
what is padding in the source is never attended to. Vectors there are zero, so that a gradient which a scheme injects at
every position teaches nothing about padding.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.attention import TransformerLayer, check_layer
from unlocked_models.layers.sequences import Positions, present, read_sequence
from unlocked_models.seq2seq.recurrent import Head, decoder_reads, memory_and_states, refuse_other_data


@register_model("transformer_seq2seq", family="seq2seq")
def transformer_seq2seq(
    in_shape: tuple[int, ...],
    n_outputs: int,
    encoder: int = 2,
    decoder: int = 2,
    width: int = 64,
    heads: int = 4,
    inner: int = 256,
    norm: str = "post",
    activation: str = "relu",
    positions: str = "sinusoidal",
    dropout: float = 0.0,
    vocabulary: int | None = None,
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """The Transformer of the paper; its base model is encoder=6 decoder=6 width=512 heads=8 inner=2048 dropout=0.1.

    Shapes: source ids `(batch, S)`, with the targets `(batch, T)` of the batch, to logits `(batch, T, n_outputs)`.

    Options: `encoder`, `decoder` layers of each; `width` of every position, which the `heads` share; `inner` width of
    the feed-forward networks; `norm` post (the paper's) or pre, with a last normalisation after either stack (trains
    without warm-up); `activation` of the feed-forward networks; `positions` sinusoidal or learned; `dropout` in [0, 1):
    of embeddings, of attention weights, inside the feed-forward networks and after every sublayer.

    Embeddings start at variance 1, the paper's scale after its multiplication with sqrt(width). The output layer does
    not share their weights: it may stand in another module.

    >>> len(transformer_seq2seq((7,), 12, vocabulary=20, out_positions=6))
    7
    """
    checks.outputs("transformer_seq2seq", n_outputs)
    for key, value in (
        ("encoder", encoder),
        ("decoder", decoder),
        ("width", width),
        ("heads", heads),
        ("inner", inner),
    ):
        checks.whole(key, value)
    checks.fraction("dropout", dropout)
    checks.pick({"sinusoidal": 0, "learned": 0}, "positions", positions)
    check_layer(width, heads, norm, activation)
    refuse_other_data("transformer_seq2seq", vocabulary, out_positions)
    assert out_positions is not None

    read, length, _ = read_sequence("transformer_seq2seq", in_shape, vocabulary, width)
    layer = (width, heads, inner, norm, activation, dropout)

    def last_norm() -> nn.Module | None:
        return nn.LayerNorm(width) if norm == "pre" else None

    yield SourceEmbedding(read, Positions(positions, length, width), dropout)
    for _ in range(encoder):
        yield EncoderLayer(*layer)
    words = nn.Embedding(n_outputs, width, padding_idx=0)
    yield TargetEmbedding(last_norm(), words, Positions(positions, out_positions, width), dropout)
    for _ in range(decoder):
        yield DecoderLayer(*layer, causal=True, cross=True)
    yield Head(width, n_outputs, last_norm())


class SourceEmbedding(nn.Module):
    """Ids `(batch, S)` to vectors with positions `(batch, S, width)`."""

    encodes = True

    def __init__(self, words: nn.Module, positions: Positions, dropout: float):
        super().__init__()
        self.words, self.positions, self.dropout = words, positions, nn.Dropout(dropout)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        out: Tensor = self.dropout(self.positions(self.words(x))) * present(batch)[:, :, None]
        return out


class EncoderLayer(TransformerLayer):
    """A layer over the source, `(batch, S, width)` to the same."""

    encodes = True

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        there = present(batch)
        return super().forward(h, there) * there[:, :, None]


class TargetEmbedding(Stepping):
    """Memory `(batch, S, width)` to `[memory, decoder inputs] (batch, S + T, width)`."""

    starts_decoder = True

    def __init__(self, norm: nn.Module | None, words: nn.Embedding, positions: Positions, dropout: float):
        super().__init__()
        self.norm, self.words, self.positions, self.dropout = norm, words, positions, nn.Dropout(dropout)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        memory = h if self.norm is None else self.norm(h) * present(batch)[:, :, None]
        return torch.cat([memory, self.dropout(self.positions(self.words(decoder_reads(self, batch.y))))], 1)


class DecoderLayer(TransformerLayer):
    """`[memory, states] (batch, S + T, width)` to the same; the memory passes as it is."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        memory, states = memory_and_states(h, batch)
        return torch.cat([memory, super().forward(states, None, memory, present(batch))], 1)
