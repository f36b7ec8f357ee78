"""Layers that several adversarial nets share: the class as an input, images that are compared, bounded slopes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from unlocked_models.contract.batch import Batch
from unlocked_models.layers.basic import sequence


class OfClass(nn.Module):
    """Layers of `[h, one-hot class]`, h flattened and passed through `before`. `(batch, ...)` to `(batch, width)`.

    With `classes` 0 no class is looked at.
    """

    def __init__(self, classes: int, *layers: nn.Module | None, before: nn.Module | None = None):
        super().__init__()
        self.classes, self.before = classes, before
        self.layers = sequence(*layers)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        h = (h if self.before is None else self.before(h)).flatten(1)
        out: Tensor = self.layers(torch.cat([h, F.one_hot(batch.y, self.classes).to(h)], 1) if self.classes else h)
        return out


class MapsOfClass(OfClass):
    """The same of maps `(batch, channels, height, width)`: each class is a plane of ones or zeros."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        h = h if self.before is None else self.before(h)
        if self.classes:
            planes = F.one_hot(batch.y, self.classes).to(h)[:, :, None, None].expand(-1, -1, *h.shape[2:])
            h = torch.cat([h, planes], 1)
        out: Tensor = self.layers(h)
        return out


class MinibatchDiscrimination(nn.Module):
    """How near each example is to the others of its minibatch, beside h (Salimans et al. 2016, section 3.2).

    `(batch, ...)` to `(batch, features + kernels)`: o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1), with
    M_i = h_i T of `kernels` rows and `width` columns. A generator that makes one image is found out by it.
    """

    def __init__(self, features: int, kernels: int, width: int = 3):
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, width) / features**0.5)

    def forward(self, h: Tensor) -> Tensor:
        h = h.flatten(1)
        M = torch.einsum("nf,fkw->nkw", h, self.T)
        apart = (M[:, None] - M[None]).abs().sum(-1)  # (batch, batch, kernels)
        others = 1 - torch.eye(len(h), dtype=h.dtype, device=h.device)
        return torch.cat([h, (torch.exp(-apart) * others[..., None]).sum(1)], 1)


def bounded(layer: nn.Module, spectral: bool) -> nn.Module:
    """Its weight divided by its largest singular value, if `spectral` (Miyato et al. 2018, arXiv:1802.05957)."""
    return spectral_norm(layer) if spectral else layer
