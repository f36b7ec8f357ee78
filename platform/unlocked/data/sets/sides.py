"""Images at a smaller size, each pixel the mean of those that it covers."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from unlocked.data.arrays import wrong


def shrunk(images: np.ndarray, side: int, name: str) -> np.ndarray:
    """`(n, channels, height, width)` to `(n, channels, side, side)`. Raises `DataError` if they would grow."""
    least = min(images.shape[2:])
    if not 1 <= side <= least:
        raise wrong(name, f"data.options.side: a number of pixels from 1 to {least}, got {side}")
    return F.interpolate(torch.from_numpy(images.astype(np.float64)), size=(side, side), mode="area").numpy()
