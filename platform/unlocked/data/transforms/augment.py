"""Image augmentation of a batch by tensor operations, the same for the same seed on any device.

Values are already normalised, so a zero is the mean of the set: the fill of He et al. (2016) for `crop` and
of DeVries & Taylor (arXiv:1708.04552) for `cutout`. (In `digits` and other sets in [0, 1] it is black.)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from unlocked.data.transform import PerExample, register_transform
from unlocked.data.transforms.views import no_image
from unlocked_models.contract.batch import Batch, Example


class Augmentation(PerExample):
    """Of images `x (batch, channels, height, width)`; `size` in pixels."""

    purpose = "augment"
    changes_x_alone = True

    def __init__(self, size: int = 0):
        self.size = size

    def refuse(self, example: Example) -> str | None:
        shape = example.in_shape
        why = no_image(example)
        if why is None and self.size > min(shape[1:]):
            return f"of size {self.size} is larger than the {shape[1]} x {shape[2]} images"
        return why

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        assert batch.x is not None
        return replace(batch, x=self.image(batch.x, *choices))

    @abstractmethod
    def image(self, x: Tensor, *choices: Tensor) -> Tensor: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size or ''})"


@register_transform("flip")
class Flip(Augmentation):
    """Mirrors half of the images left to right."""

    def __init__(self) -> None:
        super().__init__()

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        return (torch.randint(0, 2, (n,), generator=generator).bool(),)

    def image(self, x: Tensor, *choices: Tensor) -> Tensor:
        (mirrored,) = choices
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


class Sized(Augmentation):
    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        super().__init__(size)


class Moved(Sized):
    """A window of the old size, cut out of an image that is `size` pixels wider on every side."""

    mode = "constant"

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        return tuple(torch.randint(0, 2 * self.size + 1, (n,), generator=generator) for _ in range(2))

    def image(self, x: Tensor, *choices: Tensor) -> Tensor:
        dy, dx = choices
        padded = F.pad(x, [self.size] * 4, mode=self.mode)
        windows = padded.unfold(2, x.shape[-2], 1).unfold(3, x.shape[-1], 1)  # (batch, C, 2p+1, 2p+1, H, W), a view
        return windows[torch.arange(len(padded), device=padded.device), :, dy, dx]


@register_transform("crop")
class Crop(Moved):
    """Pads by `size` zeros and cuts out a window of the old size."""

    def __init__(self, size: int = 4):
        super().__init__(size)


@register_transform("shift")
class Shift(Moved):
    """Moves by up to `size` pixels each way and repeats the edge."""

    mode = "replicate"

    def __init__(self, size: int = 1):
        super().__init__(size)


@register_transform("cutout")
class Cutout(Sized):
    """Sets a square of `size` pixels to zero, centred anywhere."""

    def __init__(self, size: int = 8):
        super().__init__(size)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        return tuple(torch.randint(0, side, (n,), generator=generator) for side in _sides(batch))

    def image(self, x: Tensor, *choices: Tensor) -> Tensor:
        inside = []
        for centre, side in zip(choices, x.shape[-2:], strict=True):
            offset = torch.arange(side, device=x.device) - (centre - self.size // 2)[:, None]  # (batch, side)
            inside.append((offset >= 0) & (offset < self.size))
        rows, columns = inside
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _sides(batch: Batch) -> Sequence[int]:
    assert batch.x is not None
    return batch.x.shape[-2:]
