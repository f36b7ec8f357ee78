"""Units that say nothing: dead ones, which give 0 for every example, and saturated ones, at the flat ends of a sigmoid.

Counted at the layers of torch that can have them, while a net runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FLAT = 0.98  # of the way from the middle of the range to its end
_ENDS = {nn.Sigmoid: (0.5, 0.5), nn.Tanh: (0.0, 1.0), nn.Hardtanh: (0.0, 1.0), nn.Hardsigmoid: (0.5, 0.5)}
_DYING = (nn.ReLU, nn.ReLU6, nn.Threshold)


class Units:
    """Shares, over all layers that were seen: None if there are no such layers."""

    def __init__(self) -> None:
        self._dead: list[Tensor] = []
        self._flat: list[Tensor] = []

    @property
    def dead(self) -> Tensor | None:
        return torch.cat(self._dead).float().mean() if self._dead else None

    @property
    def saturated(self) -> Tensor | None:
        return torch.cat(self._flat).float().mean() if self._flat else None

    def see(self, layer: nn.Module, h: Tensor) -> None:
        h = h.detach()
        if not h.numel():  # an expert that no example asks: nothing is known of its units
            return
        if isinstance(layer, _DYING):
            units = h.flatten(2).amax((0, 2)) if h.dim() > 3 else h.amax(0)  # of maps: channels
            self._dead.append((units == 0).flatten())
        elif type(layer) in _ENDS:
            middle, reach = _ENDS[type(layer)]
            self._flat.append(((h - middle).abs() > FLAT * reach).flatten())


@contextmanager
def counted(net: nn.Module) -> Iterator[Units]:
    """Of the passes of the net within."""
    units = Units()

    def look(layer: nn.Module, _: object, out: object) -> None:
        if isinstance(out, Tensor):
            units.see(layer, out)

    hooks = [layer.register_forward_hook(look) for layer in net.modules() if isinstance(layer, (*_DYING, *_ENDS))]
    try:
        yield units
    finally:
        for hook in hooks:
            hook.remove()
