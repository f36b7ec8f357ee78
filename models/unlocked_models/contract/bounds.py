"""Between which values a chain's outputs lie, as far as its last layer says."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Sigmoid: (0, 1),
    nn.Hardsigmoid: (0, 1),
    nn.Softmax: (0, 1),
    nn.Softmax2d: (0, 1),
    nn.Tanh: (-1, 1),
    nn.Softsign: (-1, 1),
}


def last_layer(blocks: Sequence[nn.Module]) -> nn.Module:
    """The last one that computes: inside an `nn.Sequential`, and before layers that only change shapes. A layer of
    another class does so if its attribute `reshapes` is true."""
    layer = blocks[-1]
    while isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward:
        layers = [each for each in layer if not _reshapes(each)]
        if not layers:
            break
        layer = layers[-1]
    return layer


def bounds_of(layer: nn.Module) -> tuple[float, float] | None:
    """The least and the greatest value that it can give; None: any, or not known.

    >>> bounds_of(nn.Sigmoid()), bounds_of(nn.Linear(2, 2))
    ((0, 1), None)
    """
    if isinstance(layer, nn.Hardtanh):  # and ReLU6
        return float(layer.min_val), float(layer.max_val)
    return _BOUNDS.get(type(layer))


def _reshapes(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Flatten | nn.Unflatten | nn.Identity) or bool(getattr(layer, "reshapes", False))
