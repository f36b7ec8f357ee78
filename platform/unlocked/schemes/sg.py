"""Synthetic-gradient models M_k(h_k [, c]): what dni and cdni put in the place of the true gradient.

Jaderberg et al. 2017, arXiv:1608.05343, supplement: linear, fully connected with 0 to 2 hidden layers of
linear, batch norm and ReLU, or convolutional at the resolution of h_k; on sequences the same small network at
every position. The last layer starts at zero, weights and biases. M predicts the gradient *per example* (B times that
of the mean loss; per token where it is a mean over tokens), so that what it learns does not depend on the batch size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlocked.errors import ConfigError
from unlocked.schema.keys import SGConfig


class SyntheticGradient(nn.Module):
    """M: `h (batch, *shape)` and, when conditional, `context (batch, *context)` to a gradient like h.

    Three layouts by the boundary's shape: a vector (or anything flattened), a sequence `(positions, features)`, whose
    positions share one M, and, for kind conv, feature maps `(channels, height, width)`. The context is concatenated to
    the vector, flattened; to every position; or as one constant plane per feature. Where it has positions itself, a
    sequence of as many is given them one by one, and a longer one, which begins with what is only looked at, at its
    end, with their mean before it; one whose positions are `apart` from the targets' gets the mean at each. Where it
    has maps they are pooled to the resolution of h. Ids below `vocabulary` are embedded first, by weights
    that M learns, and their mean stands for all of them where h has no positions.

    Raises `ConfigError` for a convolution without feature maps.
    """

    def __init__(
        self,
        config: SGConfig,
        shape: tuple[int, ...],
        context: tuple[int, ...] = (),
        vocabulary: int | None = None,
        apart: bool = False,
    ):
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
        self.maps, self.positions = kind == "conv", len(shape) == 2
        features = shape[0] if self.maps else shape[1] if self.positions else int(torch.Size(shape).numel())
        # positions of the context that those of h stand beside
        aligned = self.positions and len(context) == 2 and context[0] <= shape[0] and not apart
        self.beside = context[0] if aligned else 0
        pooled = self.maps and len(context) == 3
        beside = self.beside or pooled or self.embedding is not None
        width = (context[0] if pooled else context[-1] if beside else math.prod(context)) if context else 0
        self.net = _stack(config, features + width, features, self.maps)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        z = h if self.maps else h.flatten(0, 1) if self.positions else h.flatten(1)  # (B T, F) of a sequence
        if context is not None:
            z = torch.cat([z, self._spread(context, h)], 1)
        return self.net(z).view_as(h)

    def _spread(self, context: Tensor, h: Tensor) -> Tensor:
        """The context in the layout of h."""
        if self.embedding is not None:
            context = self.embedding(context)
        if self.beside:
            whole = context.mean(1, keepdim=True).expand(-1, h.shape[1] - context.shape[1], -1)
            return torch.cat([whole, context], 1).flatten(0, 1)
        if self.maps and context.dim() == 4:
            return functional.adaptive_avg_pool2d(context, (h.shape[2], h.shape[3]))
        context = context.flatten(1) if self.embedding is None else context.mean(1)
        if self.maps:
            return context[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return context.repeat_interleave(h.shape[1], 0) if self.positions else context


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
