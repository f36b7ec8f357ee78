"""Patches of an image hidden from a net that is to paint them: masked image modelling (He et al. 2022,
arXiv:2111.06377, section 3; Xie et al. 2022, arXiv:2111.09886).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from unlocked.data.transform import PerExample, register_transform
from unlocked.data.transforms.views import no_image
from unlocked_models.contract.batch import HIDDEN, Batch, Example
from unlocked_models.layers.sequences import Patches, images_of


@register_transform("hidden_patches")
class HiddenPatches(PerExample):
    """Hides patches of every image, which the targets then ask for.

    Of the `size` x `size` patches of an image the share `fraction`, drawn, as many of each image: their pixels become
    zero, and the extra `hidden (batch, patches)` says which they are. Targets are `(batch, patches, 1 + pixels)`: 1 and
    the pixels of a patch that is hidden, zeros of one that is seen. Patches are in the order of `vit`: row by row.
    """

    evaluates = True

    def __init__(self, size: int = 2, fraction: float = 0.6):
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must be above 0 and below 1, got {fraction}")
        self.size, self.fraction = size, fraction

    def refuse(self, example: Example) -> str | None:
        why = no_image(example)
        if why is not None:
            return why
        height, width = example.in_shape[1:]
        if height % self.size or width % self.size:
            return (
                f"cuts patches of {self.size} x {self.size} pixels, which images of {height} x {width} are not made of"
            )
        patches = (height // self.size) * (width // self.size)
        if not 0 < self._count(patches) < patches:
            return f"hides {self._count(patches)} of {patches} patches; one has to be hidden and one to be seen"
        return None

    def example(self, example: Example) -> Example:
        return replace(example, n_outputs=example.y_shape[1] - 1, masked=True)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        assert batch.x is not None
        height, width = batch.x.shape[-2:]
        patches = (height // self.size) * (width // self.size)
        return (torch.rand(n, patches, generator=generator).argsort(1) < self._count(patches),)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (hidden,), x = choices, batch.x
        assert x is not None
        pixels, asked = Patches(self.size)(x), hidden[:, :, None]
        seen = images_of(pixels.masked_fill(asked, 0.0), self.size, x.shape[-2:])
        y = torch.cat([asked.to(x.dtype), pixels * asked], 2)
        return replace(batch, x=seen, y=y, extras={**batch.extras, HIDDEN: hidden})

    def _count(self, patches: int) -> int:
        return round(self.fraction * patches)
