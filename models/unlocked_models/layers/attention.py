"""Multi-head attention and the layers of Transformers made of it.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V                      Vaswani et al. 2017, arXiv:1706.03762, eq. 1
    head_i = Attention(h W_i^Q, m W_i^K, m W_i^V)                          section 3.2.2; m = h, or the memory

A layer is attention over its own positions, attention over a memory if it has one (a decoder's), and a feed-forward
network at every position, each inside a residual connection. Masks are Boolean, True at positions that are seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.stepping import Stepping
from unlocked_models.layers.activations import activation as activation_of
from unlocked_models.layers.basic import sequence
from unlocked_models.layers.sequences import present

NORMS = {"pre": True, "post": False}


def check_layer(width: int, heads: int, norm: str, activation: str, rotary: bool = False) -> None:
    """Refuses options of which no `TransformerLayer` can be made."""
    check_heads(width, heads, rotary)
    checks.pick(NORMS, "norm", norm)
    activation_of(activation)


def check_heads(width: int, heads: int, rotary: bool) -> None:
    """`ValueError` if heads and width do not fit."""
    if width % heads:
        raise ValueError(f"model.heads: {heads} do not divide a width of {width}")
    if rotary and width // heads % 2:
        raise ValueError(
            f"model.heads: {heads} leave each an odd width of {width // heads}; rotary positions turn pairs of features"
        )


class MultiHeadAttention(Stepping):
    """`h (batch, positions, width)` to the same shape, over its own positions, or over `memory (batch, keys, width)`.

    Its weights are those of `nn.MultiheadAttention`: `qkv` its `in_proj`, `out` its `out_proj`, initialised alike.

    Args:
        heads: that share the width.
        dropout: of the attention weights.
        causal: a position sees itself and those before it.
        rotary: queries and keys are turned by their position (`rotate`).
        cross: keys and values are those of a memory, which every call is given.

    It keeps (`stepping`) keys and values, `(batch, heads, positions, width / heads)` each. Those of a memory are made
    at the first call; later ones need no memory.

    Raises `ValueError` if heads and width do not fit.
    """

    feedback_point = True  # of direct feedback alignment at layer granularity

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        rotary: bool = False,
        cross: bool = False,
    ):
        super().__init__()
        check_heads(width, heads, rotary)
        self.heads, self.dropout, self.causal, self.rotary, self.cross = heads, dropout, causal, rotary, cross
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        self.takes_pieces = causal or cross

    def forward(self, h: Tensor, there: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """`there (batch, keys)`: which positions of h, or of the memory, are no padding; at least one of each row."""
        start = 0 if self.kept is None else self.kept.positions
        q, k, v = self._over(h, memory) if self.cross else self._own(h, start)
        weights = self.dropout if self.training else 0.0
        if self.causal and start == 0 and there is None:  # the fast path, which never makes the mask
            seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=weights, is_causal=True)
        else:
            mask = self._mask(q.shape[2], k.shape[2], start, there, q.device)
            seen = functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=weights)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))  # (B, heads, T, d) -> (B, T, width)
        return out

    def weights(self, h: Tensor, there: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """softmax(Q K^T / sqrt(d_k)) that a call with these arguments weighs values by, `(batch, heads, queries,
        keys)`; for maps to be looked at, outside of `remembering`."""
        q, k, _ = self._over(h, memory) if self.cross else self._own(h, 0)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        mask = self._mask(q.shape[2], k.shape[2], 0, there, q.device)
        out: Tensor = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        return out

    def _own(self, h: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (self._split(part) for part in self.qkv(h).chunk(3, -1))
        if self.rotary:
            q, k = rotate(q, start), rotate(k, start)
        if self.kept is not None:
            if start:
                k = torch.cat([self.kept.tensors["k"], k], 2)
                v = torch.cat([self.kept.tensors["v"], v], 2)
            self.kept.tensors, self.kept.positions = {"k": k, "v": v}, k.shape[2]
        return q, k, v

    def _over(self, h: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of h; keys and values of the memory, or those that were kept of it."""
        width = h.shape[-1]
        q = self._split(functional.linear(h, self.qkv.weight[:width], self.qkv.bias[:width]))
        if self.kept is not None and self.kept.tensors:
            return q, self.kept.tensors["k"], self.kept.tensors["v"]
        assert memory is not None
        k, v = (
            self._split(part)
            for part in functional.linear(memory, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, -1)
        )
        if self.kept is not None:
            self.kept.tensors = {"k": k, "v": v}
        return q, k, v

    def _split(self, h: Tensor) -> Tensor:
        out: Tensor = h.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, T, width) -> (B, heads, T, d)
        return out

    def _mask(self, queries: int, keys: int, start: int, there: Tensor | None, device: torch.device) -> Tensor | None:
        """What each query sees, to be spread over `(batch, heads, queries, keys)`; None: everything."""
        mask = None if there is None else there[:, None, None, :]
        if self.causal and queries > 1:
            before = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(start)
            mask = before if mask is None else mask & before
        return mask


def rotate(x: Tensor, start: int = 0, base: float = 10_000.0) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34): each pair of features (2i, 2i+1) of position p is
    turned by the angle p / base^(2i / d), so that a query's product with a key depends on how far apart they are.

    `x (batch, heads, positions, d)`, whose first position is `start`; d is even.
    """
    positions, d = x.shape[2], x.shape[3]
    rate = base ** (-torch.arange(0, d, 2, device=x.device, dtype=x.dtype) / d)
    angle = torch.arange(start, start + positions, device=x.device, dtype=x.dtype)[:, None] * rate  # (T, d / 2)
    cos, sin = angle.cos(), angle.sin()
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class FeedForward(nn.Sequential):
    """Two linear layers at every position, with a nonlinearity between (Vaswani et al. 2017, eq. 2)."""

    def __init__(self, width: int, inner: int, activation: str = "relu", dropout: float = 0.0):
        super().__init__(
            *sequence(
                nn.Linear(width, inner),
                activation_of(activation),
                nn.Dropout(dropout) if dropout else None,
                nn.Linear(inner, width),
            )
        )


class Residual(nn.Module):
    """The residual connection around a sublayer f, with its normalisation.

    post: LN(h + f(h)) (Vaswani et al. 2017); pre: h + f(LN(h)) (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(self, f: nn.Module, width: int, norm: str = "pre", dropout: float = 0.0):
        super().__init__()
        self.pre = checks.pick(NORMS, "norm", norm)
        self.f = f
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Tensor, *beside: Tensor | None) -> Tensor:
        """`beside`: what f takes beside h, such as masks and a memory."""
        out: Tensor
        if self.pre:
            out = h + self.dropout(self.f(self.norm(h), *beside))
        else:
            out = self.norm(h + self.dropout(self.f(h, *beside)))
        return out


class TransformerLayer(nn.Module):
    """One layer of a Transformer, `h (batch, positions, width)` to the same shape.

    The encoder's of Vaswani et al. 2017; with `causal` that of a language model; with `causal` and `cross` the
    decoder's. It computes what `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer` do.

    Args:
        inner: width of the feed-forward network.
        norm: pre or post (`Residual`).
        dropout: of attention weights, inside the feed-forward network, and after every sublayer.
        cross: a second attention, over a memory.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        norm: str = "pre",
        activation: str = "relu",
        dropout: float = 0.0,
        causal: bool = False,
        rotary: bool = False,
        cross: bool = False,
    ):
        super().__init__()
        self.attention = Residual(MultiHeadAttention(width, heads, dropout, causal, rotary), width, norm, dropout)
        over = MultiHeadAttention(width, heads, dropout, cross=True) if cross else None
        self.cross = None if over is None else Residual(over, width, norm, dropout)
        self.feedforward = Residual(FeedForward(width, inner, activation, dropout), width, norm, dropout)
        self.takes_pieces = causal

    def feedback_taps(self, granularity: str) -> list[nn.Module]:
        """Layers after which Launay et al. 2020 (arXiv:2006.12878) put the feedback of direct feedback alignment:
        `macro` after the whole, `micro` after its first norm, its activation (and dropout) and its second norm.

        Raises `ValueError` for pre norm, whose norms do not end the sublayers.
        """
        if self.feedforward.pre:
            raise ValueError("needs norms that end the sublayers: model.norm=post")
        inner = self.feedforward.f
        assert isinstance(inner, FeedForward)
        return [self.feedforward] if granularity == "macro" else [self.attention, inner[-2], self.feedforward]

    def forward(
        self, h: Tensor, there: Tensor | None = None, memory: Tensor | None = None, memory_there: Tensor | None = None
    ) -> Tensor:
        """`there (batch, positions)` and `memory_there (batch, keys)`: what is no padding; None: everything."""
        h = self.attention(h, there)
        if self.cross is not None:
            h = self.cross(h, memory_there, memory)
        out: Tensor = self.feedforward(h)
        return out


class PaddedLayer(TransformerLayer):
    """A layer of the chain that sees nothing of the padding of the minibatch's inputs."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        return super().forward(h, present(batch))
