"""Transformers: encoders that classify sequences and images, a language model that reads one way, and BERT.

One block for the embedding, one per layer (`attention.TransformerLayer`), one for the head. What crosses a boundary is
one vector per position, `(batch, positions, width)`.

Token ids are filled up with 0, which no layer attends to and no head pools. Options that all share:

* `width` of a position; `depth`, the number of layers; `heads`, which share the width; `feedforward`, the inner width
  of the feed-forward networks over `width`; `dropout` in [0, 1);
* `norm` pre (Xiong et al. 2020) or post (Vaswani et al. 2017); `activation` of the feed-forward networks;
* `positions` learned, sinusoidal (Vaswani et al. 2017, section 3.5), rotary (Su et al. 2021) or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.attention import MultiHeadAttention, PaddedLayer, TransformerLayer, check_layer
from unlocked_models.layers.basic import sequence
from unlocked_models.layers.sequences import (
    Head,
    Last,
    MaskedEmbedding,
    PaddedHead,
    Patches,
    Pool,
    Positions,
    is_padded,
    read_sequence,
)

STD = 0.02  # of embeddings, and of the weights of GPT and BERT


@dataclass(frozen=True)
class _Shape:
    """The options that all Transformers share, checked."""

    width: int
    depth: int
    heads: int
    feedforward: int
    norm: str
    positions: str
    activation: str
    dropout: float

    def __post_init__(self) -> None:
        for key in ("width", "depth", "heads", "feedforward"):
            checks.whole(key, getattr(self, key))
        checks.fraction("dropout", self.dropout)
        checks.pick({"learned": 0, "sinusoidal": 0, "rotary": 0, "none": 0}, "positions", self.positions)
        check_layer(self.width, self.heads, self.norm, self.activation, self.positions == "rotary")

    def layers(self, kind: type[TransformerLayer] = TransformerLayer, causal: bool = False) -> Iterator[nn.Module]:
        inner, rotary = self.feedforward * self.width, self.positions == "rotary"
        for _ in range(self.depth):
            yield kind(self.width, self.heads, inner, self.norm, self.activation, self.dropout, causal, rotary)

    def dropped(self) -> nn.Module | None:
        return nn.Dropout(self.dropout) if self.dropout else None

    def places(self, count: int) -> Positions:
        """What the embedding adds; rotary positions are the layers' own."""
        return Positions("none" if self.positions == "rotary" else self.positions, count, self.width)

    def embedding(self, model: str, in_shape: tuple[int, ...], vocabulary: int | None) -> nn.Sequential:
        """`(batch, *in_shape)` to `(batch, positions, width)`."""
        read, count, features = read_sequence(model, in_shape, vocabulary, self.width)
        if not isinstance(read, nn.Embedding):
            return sequence(read, nn.Linear(features, self.width), self.places(count), self.dropped())
        # as large as what is added to it: learned positions are small, sines are not
        draw_tokens(read, 1.0 if self.positions == "sinusoidal" else STD)
        return sequence(read, self.places(count), self.dropped())

    def last_norm(self) -> nn.Module | None:
        """Behind pre-norm layers, whose sum of residuals nothing has normalised."""
        return nn.LayerNorm(self.width) if self.norm == "pre" else None


@register_model("transformer", family="transformer")
def transformer(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feedforward: int = 4,
    norm: str = "pre",
    positions: str = "learned",
    activation: str = "gelu",
    dropout: float = 0.0,
    pool: str = "mean",
    padded: bool = False,
    vocabulary: int | None = None,
    out_positions: int | None = None,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Encoder that gives one output for a sequence (Vaswani et al. 2017; the encoder alone).

    Shapes: `(batch, positions, features)`, a series or token ids `(batch, positions)`, or an image, read row by row, to
    `(batch, n_outputs)`.

    Options: those of every Transformer; `pool` what the head sees: mean, last or max over the positions; `padded`:
    sequences of features are filled up to one length, which the data has to say of each (of itself if it does; those
    of tokens always may be).

    >>> len(transformer((40,), 10, depth=3))
    5
    """
    checks.outputs("transformer", n_outputs)
    if out_positions is not None:
        raise ValueError(
            "model.name: transformer reads both ways, so at every position it would see what it is to "
            "predict; gpt reads one way, and bert has its words masked"
        )
    shape = _Shape(width, depth, heads, feedforward, norm, positions, activation, dropout)
    padded = vocabulary is not None or is_padded(padded, has_lengths)
    pooling = Pool(pool)  # a wrong name is an error before the first block
    yield shape.embedding("transformer", in_shape, vocabulary)
    yield from shape.layers(PaddedLayer if padded else TransformerLayer)
    yield (PaddedHead if padded else Head)(pooling, width, n_outputs, shape.last_norm())


@register_model("vit", family="transformer")
def vit(
    in_shape: tuple[int, ...],
    n_outputs: int,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    feedforward: int = 4,
    norm: str = "pre",
    positions: str = "learned",
    dropout: float = 0.0,
    pool: str = "token",
    masked: bool = False,
) -> Iterator[nn.Module]:
    """Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): layers over the patches of an image.

    Shapes: images `(batch, channels, height, width)`, sides divisible by `patch`, to

    * `(batch, n_outputs)`;
    * the pixels of every patch, `(batch, patches, channels x patch x patch)`, where the data hides patches
      (data.transforms=[hidden_patches]): masked pre-training (Xie et al. 2022, arXiv:2111.09886), by a linear layer at
      every patch.

    Both have the same blocks but for the last, so a network pre-trained goes on where it is fine-tuned. Theirs also
    learns a vector t that stands for a hidden patch. Here it is zero: a patch is W x + b + p_i, with positions p_i that
    are learned, and b - t and p_i + t give the same net.

    Options: those of every Transformer, without activation (theirs: gelu, pre-norm); `patch` pixels a side of a patch;
    `pool` what the head sees: token, a learned vector in front of the patches (their eq. 1), or the mean or max of the
    patches (appendix D.3); where patches are hidden it sees each of them.
    """
    checks.outputs("vit", n_outputs)
    checks.whole("patch", patch)
    channels, rows, columns = checks.image("vit", in_shape, patch)
    if rows % patch or columns % patch:
        raise ValueError(f"model.patch: {patch} does not divide images of {rows} x {columns} pixels")
    pixels = channels * patch * patch
    if masked and n_outputs != pixels:
        raise ValueError(
            f"model.patch: {patch} makes patches of {pixels} numbers, and the data hides patches of {n_outputs}; give "
            f"data.transforms=[{{name: hidden_patches, size: {patch}}}] the same size"
        )
    shape = _Shape(width, depth, heads, feedforward, norm, positions, "gelu", dropout)
    pooling = checks.pick({"token": First(), "mean": Pool("mean"), "max": Pool("max")}, "pool", pool)
    token = ClassToken(width) if pool == "token" else None
    count = (rows // patch) * (columns // patch) + (token is not None)
    read = sequence(Patches(patch), nn.Linear(pixels, width))
    after = sequence(token, shape.places(count), shape.dropped())
    yield MaskedEmbedding(read, after) if masked else sequence(*read, *after)
    yield from shape.layers()
    yield Head(Last(count - (token is not None)) if masked else pooling, width, n_outputs, shape.last_norm())


@register_model("gpt", family="transformer")
def gpt(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feedforward: int = 4,
    norm: str = "pre",
    positions: str = "learned",
    activation: str = "gelu",
    dropout: float = 0.0,
    tied: bool = False,
    vocabulary: int | None = None,
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """Decoder-only language model (Radford et al. 2019, GPT-2): the next token at every position.

    Shapes: token ids `(batch, positions)` to logits `(batch, positions, n_outputs)`.

    Weights start as GPT-2's: normal with deviation 0.02, and 0.02 / sqrt(2 depth) where a layer adds to the residual
    stream, whose size then does not grow with the depth.

    Options: those of every Transformer; `tied`: the output's weight is the token embedding (Press & Wolf 2017). It is
    one weight of the first and of the last block, and its gradient the sum of both: a chain with it can be trained as
    one module, and a cut between the two is refused.
    """
    checks.outputs("gpt", n_outputs)
    if vocabulary is None or out_positions is None:
        raise ValueError(
            "model.name: gpt predicts the next token at every position; the data gives no tokens to read "
            "and to predict (language modelling)"
        )
    shape = _Shape(width, depth, heads, feedforward, norm, positions, activation, dropout)
    embedding = shape.embedding("gpt", in_shape, vocabulary)
    yield embedding
    for layer in shape.layers(causal=True):
        _start_small(layer)
        _start_residual(layer, depth)
        yield layer
    head = Head(None, width, n_outputs, shape.last_norm())
    _start_small(head)
    if tied:
        _tie(head.linear, embedding[0])
    yield head


@register_model("bert", family="transformer")
def bert(
    in_shape: tuple[int, ...],
    n_outputs: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    feedforward: int = 4,
    norm: str = "post",
    positions: str = "learned",
    dropout: float = 0.0,
    tied: bool = False,
    vocabulary: int | None = None,
    out_positions: int | None = None,
    masked: bool = False,
) -> Iterator[nn.Module]:
    """Encoder over one sentence or two, pre-trained on masked words and next sentences (Devlin et al. 2019).

    Shapes: token ids `(batch, positions)`, `[CLS] A [SEP] B [SEP]`, with ids 1 and 2 for the two signs, to

    * logits `(batch, positions, n_outputs)` where the data masks words: of the words that were hidden, and, at the
      position of [CLS], of whether B followed A in the text, as one of two tokens of the vocabulary that stand for
      "next" and "other". (The original predicts these by a second head of two outputs; as tokens, one tensor holds all
      that is predicted.)
    * `(batch, n_outputs)` where it gives a class for the whole, from the state at [CLS]: fine-tuning.

    Both have the same blocks but for the last, so a network pre-trained goes on where it is fine-tuned. A segment's id
    is the number of [SEP] before a position.

    Options: `width`, `depth`, `heads`, `feedforward`, `norm`, `positions`, `dropout` as for every Transformer
    (the original: post, learned); `tied` as `gpt`.
    """
    checks.outputs("bert", n_outputs)
    if vocabulary is None:
        raise ValueError("model.name: bert reads tokens; the data has examples of real numbers")
    if out_positions is not None and not masked:
        raise ValueError(
            "model.name: bert sees both sides of every position, so it would see its target; "
            "it needs data that masks words, such as manual_pairs"
        )
    shape = _Shape(width, depth, heads, feedforward, norm, positions, "gelu", dropout)
    read, count, _ = read_sequence("bert", in_shape, vocabulary, width)
    assert isinstance(read, nn.Embedding)
    words = out_positions is not None
    if tied and not words:
        raise ValueError("model.tied: true, but a class is no token: the output shares no weight with the embedding")
    embedding = SegmentedEmbedding(read, shape.places(count), dropout)
    _start_small(embedding)
    draw_tokens(read, STD)
    yield embedding
    for layer in shape.layers(PaddedLayer):
        _start_small(layer)
        yield layer
    head = (
        WordHead(width, n_outputs, shape.last_norm())
        if words
        else sequence(
            shape.last_norm(), First(), nn.Linear(width, width), nn.Tanh(), shape.dropped(), nn.Linear(width, n_outputs)
        )
    )
    _start_small(head)
    if isinstance(head, WordHead) and tied:
        _tie(head.linear, read)
    yield head


class First(nn.Module):
    """The vector of the first position: `(batch, positions, features)` to `(batch, features)`."""

    def forward(self, h: Tensor) -> Tensor:
        return h[:, 0]


class ClassToken(nn.Module):
    """Puts a learned vector in front of the positions."""

    def __init__(self, width: int):
        super().__init__()
        self.vector = nn.Parameter(STD * torch.randn(width))

    def forward(self, h: Tensor) -> Tensor:
        return torch.cat([self.vector.expand(len(h), 1, -1), h], 1)


class SegmentedEmbedding(nn.Module):
    """BERT's: the sum of token, segment and position embeddings, normalised; ids to `(batch, positions, width)`."""

    SEPARATOR = 2  # the id that ends a segment
    SEGMENTS = 2

    def __init__(self, read: nn.Embedding, positions: Positions, dropout: float):
        super().__init__()
        self.read, self.positions = read, positions
        self.segment = nn.Embedding(self.SEGMENTS, read.embedding_dim)
        self.norm = nn.LayerNorm(read.embedding_dim)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        ends = ids == self.SEPARATOR
        before = (ends.cumsum(1) - ends.long()).clamp(max=self.SEGMENTS - 1)  # a [SEP] is of the segment that it ends
        out: Tensor = self.dropout(self.norm(self.positions(self.read(ids) + self.segment(before))))
        return out


class WordHead(nn.Module):
    """BERT's output at every position: a layer and its norm before the logits of the vocabulary (their code's
    `get_masked_lm_output`)."""

    def __init__(self, width: int, n_outputs: int, before: nn.Module | None):
        super().__init__()
        self.transform = sequence(before, nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.linear = nn.Linear(width, n_outputs)

    @property
    def projection(self) -> nn.Linear:
        """What makes the outputs of the last hidden state."""
        return self.linear

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.linear(self.transform(h))
        return out


def draw_tokens(read: nn.Embedding, std: float) -> None:
    """Normal token embeddings, but for that of the padding, which is zero."""
    with torch.no_grad():
        read.weight.normal_(std=std)
        if read.padding_idx is not None:
            read.weight[read.padding_idx].zero_()


def _start_small(block: nn.Module) -> None:
    """All linear layers normal with deviation `STD`."""
    for layer in block.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=STD)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding) and layer.padding_idx is None:
            nn.init.normal_(layer.weight, std=STD)


def _start_residual(layer: nn.Module, depth: int) -> None:
    """Of one of `depth` layers: smaller where it adds to the residual stream."""
    assert isinstance(layer, TransformerLayer)
    attention, feedforward = layer.attention.f, layer.feedforward.f
    assert isinstance(attention, MultiHeadAttention)
    assert isinstance(feedforward, nn.Sequential)
    for last in (attention.out, feedforward[-1]):
        nn.init.normal_(last.weight, std=STD / (2 * depth) ** 0.5)  # type: ignore[arg-type]


def _tie(linear: nn.Linear, read: nn.Module) -> None:
    assert isinstance(read, nn.Embedding)
    linear.weight = read.weight
