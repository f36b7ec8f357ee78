"""Targets that an image gives by itself: two views of it (Chen et al. 2020, arXiv:2002.05709, section 3), and the
angle by which it was turned (Gidaris et al. 2018, arXiv:1803.07728).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from unlocked.data.transform import PerExample, register_transform
from unlocked_models.contract.batch import Batch, Example

VIEWS = 2
TURNS = 4


def no_image(example: Example) -> str | None:
    if len(example.in_shape) == 3:
        return None
    return f"needs images (channels, height, width), but an example has shape {example.in_shape}"


def moved(images: Tensor, angle: Tensor, size: Tensor, shift: Tensor, outside: str) -> Tensor:
    """Images `(batch, channels, height, width)`, linear between pixels.

    Args:
        angle: `(batch,)`, in radians, against the clock, about the centre.
        size: `(batch,)`, by which each is magnified.
        shift: `(batch, 2)`, to the left and up, in halves of a side.
        outside: what comes in from outside: zeros, or border, the nearest pixel.
    """
    height, width = images.shape[-2:]
    cosine, sine = angle.cos() / size, angle.sin() / size
    # from a pixel of the result to where it lies in the image, both from -1 to 1 along each side
    rows = [
        torch.stack([cosine, -sine * height / width, shift[:, 0]], 1),
        torch.stack([sine * width / height, cosine, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)


@register_transform("views")
class Views(PerExample):
    """Two views of every image, `x (batch, 2, channels, height, width)`, for a task that compares them.

    A view is turned by up to `angle` degrees, larger or smaller by up to the share `scale`, moved by up to the share
    `shift` of a side (the edge is repeated), stronger or weaker in contrast by up to the share `contrast`, and blurred
    by noise of deviation `noise`; the last two are shares of the deviation of the image.
    """

    evaluates = True

    def __init__(
        self, angle: float = 20.0, scale: float = 0.2, shift: float = 0.1, contrast: float = 0.2, noise: float = 0.0
    ):
        for name, value in (("angle", angle), ("scale", scale), ("shift", shift), ("contrast", contrast)):
            if not 0 <= value < (180.1 if name == "angle" else 1):
                raise ValueError(f"{name} must be from 0 to {'180' if name == 'angle' else 'below 1'}, got {value}")
        if noise < 0:
            raise ValueError(f"noise must be at least 0, got {noise}")
        self.angle, self.scale, self.shift, self.contrast, self.noise = angle, scale, shift, contrast, noise

    def refuse(self, example: Example) -> str | None:
        return no_image(example)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        assert batch.x is not None
        where = 2 * torch.rand(n, VIEWS, 5, generator=generator) - 1  # angle, scale, two shifts, contrast
        if not self.noise:
            return (where,)
        return where, torch.randn(n, VIEWS, *batch.x.shape[1:], generator=generator)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        x = batch.x
        assert x is not None
        where, *noise = (choice.to(x.dtype) for choice in choices)
        images = x[:, None].expand(-1, VIEWS, *x.shape[1:]).flatten(0, 1)  # (batch x views, ...)
        seen = self._moved(images, where.flatten(0, 1))
        mean, deviation = seen.mean((1, 2, 3), keepdim=True), seen.std((1, 2, 3), keepdim=True)
        seen = mean + (seen - mean) * (1 + self.contrast * where.flatten(0, 1)[:, 4, None, None, None])
        if noise:
            seen = seen + self.noise * deviation * noise[0].flatten(0, 1)
        return replace(batch, x=seen.view(len(x), VIEWS, *x.shape[1:]))

    def _moved(self, images: Tensor, where: Tensor) -> Tensor:
        angle, size = math.radians(self.angle) * where[:, 0], 1 + self.scale * where[:, 1]
        return moved(images, angle, size, 2 * self.shift * where[:, 2:4], outside="border")


@register_transform("turns")
class Turns(PerExample):
    """Turns every image by 0, 90, 180 or 270 degrees, drawn; the target is which of these."""

    evaluates = True

    def refuse(self, example: Example) -> str | None:
        why = no_image(example)
        if why is None and example.in_shape[1] != example.in_shape[2]:
            height, width = example.in_shape[1:]
            return f"needs square images: one of {height} x {width} has another shape when it is turned by 90 degrees"
        return why

    def example(self, example: Example) -> Example:
        return replace(example, n_outputs=TURNS, y_shape=(), y_real=False)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        return (torch.randint(0, TURNS, (n,), generator=generator),)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (turns,), x = choices, batch.x
        assert x is not None
        turned = torch.stack([x.rot90(k, (-2, -1)) for k in range(TURNS)])  # (turns, batch, ...)
        return replace(batch, x=turned[turns, torch.arange(len(x), device=x.device)], y=turns)
