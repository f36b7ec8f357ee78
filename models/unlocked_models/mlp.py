"""Multilayer perceptron: fully connected layers (Rumelhart, Hinton and Williams 1986)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.activations import pieces
from unlocked_models.layers.basic import initialised, sequence, vector_norm


@register_model("mlp", family="mlp")
def mlp(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [256, 256],  # noqa: B006  (read, never changed)
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "default",
    width: int = 0,
    depth: int = 0,
) -> Iterator[nn.Module]:
    """Multilayer perceptron: h_k = dropout(phi(norm(W_k h_{k-1} + b_k))), then a linear head.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`. One block per hidden layer and one
    for the head; `hidden: []` is a linear model.

    Options: `hidden` widths of the hidden layers; `activation` linear, step or perceptron (straight through),
    sigmoid, tanh, hard_tanh, relu, leaky_relu, prelu, rrelu, elu, selu, silu, gelu, softplus, softmax, maxout (of
    two pieces), gaussian, multiquadric or ricker; `norm` none, batch, layer or group; `dropout` in [0, 1), after each
    hidden layer; `init` default (torch's own), kaiming, lecun, xavier, orthogonal or zeros. `depth` hidden layers of
    `width` units each stand in the place of `hidden` where they are given, as a search wants them.

    >>> len(mlp((1, 28, 28), 10, hidden=[300, 100], activation="tanh"))
    3
    """
    checks.outputs("mlp", n_outputs)
    if width or depth:
        if width < 1 or depth < 1:
            raise ValueError(f"model.width: {width} with model.depth {depth}; expected both at least 1, or neither")
        hidden = [width] * depth
    blocks = fully_connected(in_shape, hidden, n_outputs, activation, norm, dropout)
    yield from initialised(blocks, len(hidden) + 1, init, activation)


def fully_connected(
    in_shape: Sequence[int],
    hidden: Sequence[int],
    n_outputs: int,
    activation: str,
    norm: str = "none",
    dropout: float = 0.0,
) -> Iterator[nn.Module]:
    """A block per hidden layer (linear, norm, activation, dropout), and the linear head: `mlp`'s chain,
    and the last layers of the convolutional models. More than one axis is flattened by the first block.

    Wrong options are refused at the call, before the first block is made."""
    checks.sizes("hidden", hidden)
    checks.fraction("dropout", dropout)
    activation_layer(activation, of_pieces=True)  # a wrong name is an error without hidden layers too
    vector_norm(norm, 1)
    return _fully_connected(in_shape, hidden, n_outputs, activation, norm, dropout)


def _fully_connected(
    in_shape: Sequence[int], hidden: Sequence[int], n_outputs: int, activation: str, norm: str, dropout: float
) -> Iterator[nn.Module]:
    n_in = math.prod(in_shape)
    for k, width in enumerate([*hidden, n_outputs]):
        flatten = nn.Flatten() if k == 0 and len(in_shape) > 1 else None
        if k == len(hidden):
            linear = nn.Linear(n_in, width)
            yield linear if flatten is None else sequence(flatten, linear)
        else:
            wide = width * pieces(activation)
            drop = nn.Dropout(dropout) if dropout else None
            phi = activation_layer(activation, of_pieces=True)
            yield sequence(flatten, nn.Linear(n_in, wide), vector_norm(norm, wide), phi, drop)
        n_in = width
