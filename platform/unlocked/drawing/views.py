"""Images beside the views that a net was shown of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unlocked.drawing import pictures

SHOWN = 10


def draw_views(images: Tensor, views: Tensor, path: Path) -> Path:
    """Some of `images (n, channels, height, width)`, from the first to the last, as sets may be sorted by class, above
    their `views (n, views, channels, height, width)`."""
    rows_shown = torch.linspace(0, len(images) - 1, min(SHOWN, len(images))).long()
    given, seen = (x[rows_shown.to(x.device)].detach().double().cpu() for x in (images, views))
    rows = [list(given.numpy()), *(list(seen[:, k].numpy()) for k in range(seen.shape[1]))]
    names = ["image", *(f"view {k + 1}" for k in range(seen.shape[1]))]
    return pictures.examples(rows, path, "Views of test images", (float(given.min()), float(given.max())), names)
