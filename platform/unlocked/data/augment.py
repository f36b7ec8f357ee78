"""Image augmentation of a batch by tensor operations, the same for the same seed on any device.

Values are already normalised, so a zero is the mean of the set: the fill of He et al. (2016) for `crop` and
of DeVries & Taylor (arXiv:1708.04552) for `cutout`. (In `digits` and other sets in [0, 1] it is black.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from unlocked.errors import DataError
from unlocked_models.contract.registry import unknown

Draw = tuple[Tensor, ...]


@dataclass(frozen=True)
class Kind:
    """One augmentation: `draw(n, shape, size, generator)` gives random choices for n images, each a tensor
    of n; `apply(x, size, *choices)` carries them out."""

    draw: Callable[[int, Sequence[int], int, Generator], Draw]
    apply: Callable[..., Tensor]
    size: int | None  # default, in pixels; None where it has none


class Augment:
    """A sequence of augmentations, called as `augment(x, seed, shard)` on images `x (batch, C, H, W)`.

    With `shard = (r, R)` the choices of the whole global batch are drawn and every R-th from r is used.
    """

    def __init__(self, steps: Sequence[tuple[str, int]]):
        self.steps = list(steps)

    def __call__(self, x: Tensor, seed: int, shard: tuple[int, int] = (0, 1)) -> Tensor:
        replica, replicas = shard
        generator = torch.Generator().manual_seed(seed)
        for name, size in self.steps:
            kind = KINDS[name]
            draws = kind.draw(len(x) * replicas, x.shape[1:], size, generator)
            x = kind.apply(x, size, *(draw[replica::replicas].to(x.device) for draw in draws))
        return x

    def __repr__(self) -> str:
        return f"Augment({self.steps})"


def parse_augment(names: Sequence[str], in_shape: Sequence[int]) -> Augment | None:
    """The augmentation of a configuration list such as `["flip", "crop:2"]`, or None of an empty one.

    `flip` mirrors half of the images left to right; `crop:4` pads by 4 zeros and cuts out a window of the old
    size; `shift:1` moves by up to 1 pixel each way and repeats the edge; `cutout:8` sets a square of 8 pixels
    to zero, centred anywhere. The numbers are the defaults.

    Raises `DataError` for an unknown name, a size that does not fit, or examples that are not images.

    >>> parse_augment(["flip", "crop:2"], (3, 32, 32))
    Augment([('flip', 0), ('crop', 2)])
    """
    if isinstance(names, str):
        raise DataError(f"data.augment: {names!r} is not a list; write [{names}]")
    steps = [_parse(entry) for entry in names]
    shape = tuple(in_shape)
    for name, size in steps:
        if len(shape) != 3:
            raise DataError(
                f"data.augment: {name!r} needs images (channels, height, width), but an example "
                f"of this data set has shape {shape}"
            )
        if size > min(shape[1:]):
            raise DataError(f"data.augment: {name}:{size} is larger than the {shape[1]} x {shape[2]} images")
    return Augment(steps) if steps else None


def _parse(entry: object) -> tuple[str, int]:
    if not isinstance(entry, str):
        raise DataError(f"data.augment: {entry!r} is not a name such as flip or crop:2")
    name, colon, given = (part.strip() for part in entry.partition(":"))
    if name not in KINDS:
        raise DataError(f"data.augment: {unknown('augmentation', name, list(KINDS))}")
    default = KINDS[name].size
    if not colon:
        return name, default or 0
    if default is None:
        raise DataError(f"data.augment: {name!r} takes no size, but {entry!r} gives one")
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise DataError(f"data.augment: {entry!r} needs a whole number of pixels, e.g. {name}:{default}")
    return name, int(given)


def _draw_flip(n: int, shape: Sequence[int], size: int, g: Generator) -> Draw:
    return (torch.randint(0, 2, (n,), generator=g).bool(),)


def _flip(x: Tensor, size: int, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def _draw_offsets(n: int, shape: Sequence[int], size: int, g: Generator) -> Draw:
    return tuple(torch.randint(0, 2 * size + 1, (n,), generator=g) for _ in range(2))


def _crop(x: Tensor, size: int, dy: Tensor, dx: Tensor) -> Tensor:
    return _windows(F.pad(x, [size] * 4), x.shape[-2:], dy, dx)


def _shift(x: Tensor, size: int, dy: Tensor, dx: Tensor) -> Tensor:
    return _windows(F.pad(x, [size] * 4, mode="replicate"), x.shape[-2:], dy, dx)


def _windows(padded: Tensor, shape: Sequence[int], dy: Tensor, dx: Tensor) -> Tensor:
    windows = padded.unfold(2, shape[0], 1).unfold(3, shape[1], 1)  # (batch, C, 2p+1, 2p+1, H, W), a view
    return windows[torch.arange(len(padded), device=padded.device), :, dy, dx]


def _draw_centre(n: int, shape: Sequence[int], size: int, g: Generator) -> Draw:
    return tuple(torch.randint(0, side, (n,), generator=g) for side in shape[-2:])


def _cutout(x: Tensor, size: int, cy: Tensor, cx: Tensor) -> Tensor:
    inside = []
    for centre, side in ((cy, x.shape[-2]), (cx, x.shape[-1])):
        offset = torch.arange(side, device=x.device) - (centre - size // 2)[:, None]  # (batch, side)
        inside.append((offset >= 0) & (offset < size))
    rows, columns = inside
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


KINDS = {
    "flip": Kind(_draw_flip, _flip, size=None),
    "crop": Kind(_draw_offsets, _crop, size=4),
    "shift": Kind(_draw_offsets, _shift, size=1),
    "cutout": Kind(_draw_centre, _cutout, size=8),
}
