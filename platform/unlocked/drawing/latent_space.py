"""What a generator of images does with its latent: the way between two of them, and a direction that is added to all.

A direction is found as Radford et al. 2016 (section 6.3.2) found theirs, as a difference of means: here between the
latents of the boldest and the faintest tenth of the images of each class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlocked.drawing import pictures

Make = Callable[[Tensor, Tensor], Tensor]  # latents `(n, *shape)` and classes `(n,)` to images `(n, *shape)`

STEPS, ROWS, DRAWN = 9, 5, 200
FACTORS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def interpolation(
    make: Make, shape: tuple[int, ...], names: Sequence[str], scale: tuple[float, float], path: Path, seed: int = 0
) -> Path:
    """From one latent to another in a straight line, a row for each of some classes."""
    generator, rows = torch.Generator().manual_seed(seed), min(ROWS, len(names))
    share = torch.linspace(0, 1, STEPS).view(STEPS, *[1] * len(shape))
    images = []
    for c in range(rows):
        one, other = torch.randn(2, *shape, generator=generator)
        images.append([*make((1 - share) * one + share * other, torch.full((STEPS,), c)).numpy()])
    told = names[:rows] if len(names) > 1 and looks_at_class(make, shape) else []
    return pictures.examples(images, path, "From one latent to another", scale, told)


def arithmetic(
    make: Make, shape: tuple[int, ...], names: Sequence[str], scale: tuple[float, float], path: Path, seed: int = 0
) -> Path:
    """One latent and multiples of the direction from faint to bold, a column for each class."""
    generator = torch.Generator().manual_seed(seed)
    direction = from_faint_to_bold(make, shape, len(names), generator)
    z, classes = torch.randn(1, *shape, generator=generator), torch.arange(len(names))
    same = z.expand(len(names), *shape)
    images = [[*make(same + factor * direction, classes).numpy()] for factor in FACTORS]
    told = [f"z {'-' if factor < 0 else '+'} {abs(factor):g} v" if factor else "z" for factor in FACTORS]
    shown = names if len(names) > 1 and looks_at_class(make, shape) else []
    return pictures.examples(images, path, "v leads from faint to bold images", scale, told, shown)


def from_faint_to_bold(make: Make, shape: tuple[int, ...], classes: int, generator: torch.Generator) -> Tensor:
    """The mean over classes of the difference of mean latents, `shape`."""
    found = torch.zeros(shape)
    for c in range(classes):
        z = torch.randn(DRAWN, *shape, generator=generator)
        order = make(z, torch.full((DRAWN,), c)).flatten(1).mean(1).argsort()
        tenth = DRAWN // 10
        found += (z[order[-tenth:]].mean(0) - z[order[:tenth]].mean(0)) / classes
    return found


def looks_at_class(make: Make, shape: tuple[int, ...]) -> bool:
    z = torch.zeros(2, *shape)
    one, other = make(z, torch.tensor([0, 1]))
    return not torch.equal(one, other)


def of_classes(make: Make, ids: Tensor) -> Make:
    """`make` for some classes alone, which are then counted from 0."""
    return lambda z, classes: make(z, ids[classes])
