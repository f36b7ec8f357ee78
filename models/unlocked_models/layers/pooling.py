"""Poolings of maps by name, and how convolutions pad: what makes the resolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract.checks import pick


class L2Pool(nn.Module):
    """sqrt(sum of squares) over windows of `size` (Sermanet et al. 2012); its slope at zeros is 0, not infinite as that
    of `nn.LPPool2d` is."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        squares = F.avg_pool2d(h.square(), self.size) * self.size**2
        return squares.clamp(min=torch.finfo(h.dtype).tiny).sqrt()


class KMaxPool(nn.Module):
    """The mean of the `k` largest of each window of `size` (as Kalchbrenner et al. 2014, arXiv:1404.2188, keep them in
    a sequence)."""

    def __init__(self, size: int, k: int = 2):
        super().__init__()
        self.size, self.k = size, k

    def forward(self, h: Tensor) -> Tensor:
        windows = h.unfold(2, self.size, self.size).unfold(3, self.size, self.size).flatten(-2)
        return windows.topk(self.k, -1).values.mean(-1)


POOLS: dict[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "avg": nn.AvgPool2d,
    "l2": L2Pool,
    "k_max": KMaxPool,
}
PADDINGS: dict[str, Callable[[int], int]] = {
    "valid": lambda kernel: 0,  # no pixel beside the image
    "same": lambda kernel: kernel // 2,  # the resolution is kept
    "full": lambda kernel: kernel - 1,  # every place at which kernel and image overlap
}


def padding_of(name: str, kernel: int) -> int:
    """Zeros on every side of the image."""
    return pick(PADDINGS, "padding", name)(kernel)
