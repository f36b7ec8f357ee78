"""Raw inputs as the net sees them: bytes as shares of 255, mean 0 and deviation 1 where a set asks for it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData
from unlocked_models.contract.registry import unknown

Statistics = tuple[Tensor, Tensor] | None  # mean and deviation, in shapes that broadcast over examples


def statistics_of(name: str, raw: RawData, x_train: np.ndarray, lengths: np.ndarray | None) -> Statistics:
    """By what the set asks for; None: its inputs stay as given."""
    if raw.normalise != "train":
        return fixed_statistics(name, raw, x_train.shape)
    x = _floating(x_train)
    std, mean = _std_mean(x, feature_axis(x_train.ndim), lengths)
    rounding = 10 * torch.finfo(x.dtype).eps * mean.abs()
    return but_plain(raw, mean, torch.where(std <= rounding, torch.ones_like(std), std))


def but_plain(raw: RawData, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Without those of features that stay as given."""
    if raw.plain is None:
        return mean, std
    plain = torch.tensor(raw.plain, dtype=torch.bool).expand_as(mean)
    return mean.masked_fill(plain, 0), std.masked_fill(plain, 1)


def feature_axis(ndim: int) -> int:
    """Of channels of `(n, C, H, W)`, else of features."""
    return 1 if ndim == 4 else ndim - 1


def fixed_statistics(name: str, raw: RawData, shape: tuple[int, ...]) -> Statistics:
    """Those that the set itself gives, for inputs of this shape; None: it gives none."""
    if raw.normalise is None:
        return None
    if isinstance(raw.normalise, str):
        raise wrong(name, f"{unknown('normalise', raw.normalise, ['train'])}, or (mean, std), or None")
    axis = feature_axis(len(shape))
    wide = [-1 if d == axis else 1 for d in range(len(shape))]
    mean, std = (torch.tensor(value, dtype=torch.float64).reshape(wide) for value in raw.normalise)
    if any(value.numel() not in (1, shape[axis]) for value in (mean, std)):
        raise wrong(
            name,
            f"normalise has {mean.numel()} means and {std.numel()} deviations for "
            f"{shape[axis]} {'channels' if len(shape) == 4 else 'features'}",
        )
    if not (bool(mean.isfinite().all()) and bool((std > 0).all()) and bool(std.isfinite().all())):
        raise wrong(name, "normalise needs finite means and deviations above 0")
    return mean, std


def _std_mean(x: Tensor, axis: int, lengths: np.ndarray | None) -> tuple[Tensor, Tensor]:
    """Over all dimensions but `axis`; of sequences with lengths over what is no padding."""
    over = [d for d in range(x.ndim) if d != axis]
    if lengths is None:
        return torch.std_mean(x, dim=over, correction=0, keepdim=True)
    there = _there(x, lengths).expand_as(x).to(x.dtype)
    count = there.sum(over, keepdim=True).clamp(min=1)  # of a series, no sequence may reach its last positions
    mean = (x * there).sum(over, keepdim=True) / count
    return (((x - mean) * there).square().sum(over, keepdim=True) / count).sqrt(), mean


def _there(x: Tensor, lengths: np.ndarray) -> Tensor:
    """Which positions are no padding, in a shape that broadcasts over sequences `x`."""
    there = torch.arange(x.shape[1]) < torch.from_numpy(lengths)[:, None]
    return there.view(*there.shape, *[1] * (x.ndim - 2))


def _floating(x: np.ndarray) -> Tensor:
    """A copy to compute on: bytes as value / 255; wide numbers stay float64 until they are normalised."""
    if x.dtype == np.uint8:
        return torch.from_numpy(x.astype(np.float32)).div_(255)
    wide = x.dtype.kind in "iu" or x.dtype.itemsize > 4
    return torch.from_numpy(x.astype(np.float64 if wide else np.float32))


def as_float32(name: str, part: str, x: np.ndarray, statistics: Statistics, lengths: np.ndarray | None) -> Tensor:
    """Normalised inputs of one split or file; raises `DataError` for values that are too large."""
    out = _floating(x)
    if statistics is not None:
        mean, std = (value.to(out.dtype) for value in statistics)
        out = out.sub_(mean).div_(std)
    if lengths is not None:
        out.masked_fill_(~_there(out, lengths), 0.0)
    out = out.to(torch.float32)
    if x.dtype != np.uint8 and not bool(out.isfinite().all()):
        raise wrong(name, f"x_{part} has values that do not fit float32")
    return out
