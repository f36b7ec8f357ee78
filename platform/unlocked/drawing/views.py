"""Images beside the views that a net was shown of them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unlocked.drawing import pictures

SHOWN = 10


def draw_views(images: Tensor, views: Tensor, path: Path) -> Path:
    """The first of `images (n, channels, height, width)`, above their `views (n, views, channels, height, width)`."""
    given, seen = (x[:SHOWN].detach().double().cpu() for x in (images, views))
    rows = [list(given.numpy()), *(list(seen[:, k].numpy()) for k in range(seen.shape[1]))]
    names = ["image", *(f"view {k + 1}" for k in range(seen.shape[1]))]
    return pictures.examples(rows, path, "Views of test images", (float(given.min()), float(given.max())), names)
