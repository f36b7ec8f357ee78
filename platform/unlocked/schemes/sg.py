"""Synthetic-gradient models M_k(h_k [, c]): what dni and cdni put in the place of the true gradient.

Jaderberg et al. 2017, arXiv:1608.05343, supplement: linear, fully connected with 0 to 2 hidden layers of
linear, batch norm and ReLU, or convolutional at the resolution of h_k; on sequences the same small network at
every position. The last layer starts at zero, weights and biases. M predicts the gradient *per example* (B times that
of the mean loss; per token where it is a mean over tokens), so that what it learns does not depend on the batch size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schema.facts import MOST_WIDTH, key
from unlocked.schemes.layout import Layout
from unlocked_models.contract.batch import Batch
from unlocked_models.graph import Neighbours


@dataclass
class SGConfig:
    """The synthetic-gradient model M_k."""

    kind: str = key(
        "auto", "auto: conv on feature maps, else mlp if hidden, else linear", choices=("auto", "linear", "mlp", "conv")
    )
    hidden: list[int] = key([], "widths (mlp) or channels (conv) of the hidden layers", low=1, high=MOST_WIDTH)
    rank: int | None = key(None, "linear only: factor the weight through this many units", low=1, high=MOST_WIDTH)
    kernel: int = key(3, "conv only; the resolution is kept", low=1, high=99, odd=True)
    norm: str = key("batch", "in the hidden layers", choices=("batch", "none"))
    embedding: int = key(32, "width in which cdni's M sees a target that is a token", low=1, high=MOST_WIDTH)
    hops: int = key(0, "of graphs: M also sees its neighbours' h and context, up to so many edges away", low=0, high=99)
    lr: float | None = key(None, "null: optimizer.lr", above=0)
    optimizer: str = key("adam", "SGD with momentum does not train M", named="optimizer")


class SyntheticGradient(nn.Module):
    """M: `h (batch, *shape)` and, when conditional, `context (batch, *context)` to a gradient like h.

    One M is shared by the positions of a sequence and, if it is a convolution, by the pixels of maps; anything else is
    flattened (`layout` has the words). The context stands beside h place by place if they have places in common;
    positions that are only looked at see its mean, and maps see it pooled to their resolution. Else every place of h
    sees all of it: real numbers flattened, of ids (below `vocabulary`, embedded by weights that M learns) the mean.

    Raises `ConfigError` for a convolution without feature maps.
    """

    def __init__(
        self,
        config: SGConfig,
        shape: tuple[int, ...],
        context: tuple[int, ...] = (),
        vocabulary: int | None = None,
        apart: bool = False,
        views: int = 1,
    ):
        """`views`: how many times what M sees stands beside itself, each from elsewhere."""
        super().__init__()
        self.shape = shape
        self.embedding = None
        if vocabulary is not None:
            self.embedding = nn.Embedding(vocabulary, min(vocabulary, config.embedding))
            context = (*context, self.embedding.embedding_dim)
        kind = config.kind
        if kind == "auto":
            kind = "conv" if len(shape) == 3 else "mlp" if config.hidden else "linear"
        if kind == "conv" and len(shape) != 3:
            raise ConfigError(
                f"scheme.sg.kind: conv needs feature maps (channels, height, width); this boundary is of shape {shape}"
            )
        self.layout = Layout(shape if len(shape) == 2 or kind == "conv" else (math.prod(shape),), context, apart)
        width = 0
        if context:
            if self.layout.by_place:
                width = self.layout.other_features
            else:
                width = math.prod(context) if self.embedding is None else self.embedding.embedding_dim
        n_in, n_out = views * (self.layout.features + width), self.layout.features
        self.net = _stack(config, n_in, n_out, self.layout.kind == "maps")

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(self._seen(h, context)).view_as(h)
        return out

    def _seen(self, h: Tensor, context: Tensor | None) -> Tensor:
        """h and the context as `net` takes them: `(batch, features)`, `(batch x positions, features)`, or maps."""
        positions = self.layout.kind == "positions"
        z = h if self.layout.kind == "maps" else h.flatten(0, 1) if positions else h.flatten(1)  # (B T, F) of positions
        return z if context is None else torch.cat([z, self._spread(context, h)], 1)

    def _spread(self, context: Tensor, h: Tensor) -> Tensor:
        """The context, in the layout of h."""
        kind = self.layout.kind
        if self.embedding is not None:
            context = self.embedding(context)
        if self.layout.by_place:
            if kind == "maps":
                return self.layout.at_resolution(context)
            return self.layout.at_positions(context, context.mean(1, keepdim=True)).flatten(0, 1)
        context = context.flatten(1) if self.embedding is None else context.mean(1)
        if kind == "maps":
            return context[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return context.repeat_interleave(h.shape[1], 0) if kind == "positions" else context


class PaddedGradient(SyntheticGradient):
    """M of sequences that say how long they are: it sees none of their padding, and says zero there."""

    def forward(self, h: Tensor, context: Tensor | None = None, *, batch: Batch) -> Tensor:  # type: ignore[override]
        assert batch.lengths is not None
        real = (torch.arange(h.shape[1], device=h.device) < batch.lengths[:, None]).flatten()
        rows = self._seen(h, context)
        out = rows.new_zeros(len(rows), h.shape[2])
        out[real] = self.net(rows[real])
        return out.view_as(h)


class GraphGradient(SyntheticGradient):
    """M of a graph's nodes: `M(z, A' z, A'^2 z, ...)` for z = [h, context], up to `hops` times A', a hop along the
    edges (`unlocked_models.graph`). The layers above mix neighbours, so a node's gradient depends on their labels.
    """

    def __init__(
        self,
        config: SGConfig,
        shape: tuple[int, ...],
        context: tuple[int, ...] = (),
        vocabulary: int | None = None,
        apart: bool = False,
    ):
        super().__init__(config, shape, context, vocabulary, apart, views=1 + config.hops)
        self._hops, self._neighbours = config.hops, Neighbours()

    def forward(self, h: Tensor, context: Tensor | None = None, *, batch: Batch) -> Tensor:  # type: ignore[override]
        views = [self._seen(h, context).view(*h.shape[:2], -1)]
        for _ in range(self._hops):
            views.append(self._neighbours(views[-1], batch))
        out: Tensor = self.net(torch.cat(views, 2).flatten(0, 1)).view_as(h)
        return out


def _stack(config: SGConfig, n_in: int, n_out: int, maps: bool) -> nn.Sequential:
    def layer(a: int, b: int, bias: bool = True) -> nn.Module:
        if maps:
            return nn.Conv2d(a, b, config.kernel, padding=config.kernel // 2, bias=bias)
        return nn.Linear(a, b, bias=bias)

    layers: list[nn.Module] = []
    width = n_in
    for hidden in config.hidden:
        layers.append(layer(width, hidden))
        if config.norm == "batch":  # of the minibatch alone: M is only ever asked about training data
            norm = nn.BatchNorm2d if maps else nn.BatchNorm1d
            layers.append(norm(hidden, track_running_stats=False))
        layers.append(nn.ReLU())
        width = hidden
    if config.rank is not None and not maps:
        layers.append(layer(width, config.rank, bias=False))
        width = config.rank
    last = layer(width, n_out)
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    layers.append(last)
    return nn.Sequential(*layers)
