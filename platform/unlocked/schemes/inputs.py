"""Synthetic inputs I_k(x): what a module runs on before the activations of the module below arrive.

Jaderberg et al. 2017, arXiv:1608.05343, section 2 ("complete unlock"). I_k sees the network's own input x and never
the label: conditioned on it, the forward pass would leak what it is to predict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from unlocked.schema.facts import MOST_WIDTH, key
from unlocked.schemes.layout import Layout
from unlocked.schemes.spec import ModuleSpec


@dataclass
class InputModelConfig:
    """The model I_k of synthetic inputs."""

    hidden: list[int] = key([], "widths, or channels for feature maps; empty: linear", low=1, high=MOST_WIDTH)
    kernel: int = key(3, "of convolutions", low=1, high=99, odd=True)
    embedding: int = key(64, "width of a token if inputs are tokens", low=1, high=MOST_WIDTH)
    lr: float | None = key(None, "null: optimizer.lr", above=0)


def make_input_model(config: InputModelConfig, spec: ModuleSpec) -> SyntheticInput:
    """I of one module, which is not the first."""
    return SyntheticInput(config, spec.example.in_shape, spec.in_shape, spec.example.vocabulary)


class SyntheticInput(nn.Module):
    """I: `x (batch, *in_shape)` to a guess of `h (batch, *shape)`.

    If the places of h are the `same` as those of x (see `layout`), its layers are shared by them: convolutions on maps,
    pooled to the resolution of h before the last of them, and linear layers at every position. Else they are linear
    layers on the flattened input. Hidden layers are followed by batch norm and ReLU. Ids below `vocabulary` are
    embedded first.
    """

    def __init__(
        self, config: InputModelConfig, in_shape: tuple[int, ...], shape: tuple[int, ...], vocabulary: int | None = None
    ):
        super().__init__()
        self.shape = shape
        self.embedding = None
        if vocabulary is not None:
            self.embedding = nn.Embedding(vocabulary, config.embedding)
            in_shape = (*in_shape, config.embedding)
        self.layout = Layout(shape, in_shape)
        shared = self.layout.kind if self.layout.relation == "same" else "vector"
        self.maps, self.positions = shared == "maps", shared == "positions"

        def layer(a: int, b: int) -> nn.Module:
            return nn.Conv2d(a, b, config.kernel, padding=config.kernel // 2) if self.maps else nn.Linear(a, b)

        norm = nn.BatchNorm2d if self.maps else nn.BatchNorm1d
        width = math.prod(in_shape) if shared == "vector" else self.layout.other_features
        n_out = math.prod(shape) if shared == "vector" else self.layout.features
        layers: list[nn.Module] = []
        for hidden in config.hidden:  # training data only: the statistics of the minibatch are enough
            layers += [layer(width, hidden), norm(hidden, track_running_stats=False), nn.ReLU()]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.last = layer(width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            x = self.embedding(x)
        if not self.maps:
            x = x.flatten(0, 1) if self.positions else x.flatten(1)  # (B T, F) or (B, F)
        z = self.hidden(x)
        if self.maps:
            z = self.layout.at_resolution(z)
        out: Tensor = self.last(z).view(-1, *self.shape)
        return out
