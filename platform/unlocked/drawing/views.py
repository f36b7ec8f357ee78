"""Images beside what a net was shown of them, and what it made of that."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.drawing import pictures
from unlocked_models.contract.batch import HIDDEN
from unlocked_models.contract.chain import Chain
from unlocked_models.layers.sequences import images_of

SHOWN = 10


def draw_views(images: Tensor, views: Tensor, path: Path) -> Path:
    """Some of `images (n, channels, height, width)` above their `views (n, views, channels, height, width)`."""
    given, seen = (x[_some(x)].detach().double().cpu() for x in (images, views))
    rows = [list(given.numpy()), *(list(seen[:, k].numpy()) for k in range(seen.shape[1]))]
    names = ["image", *(f"view {k + 1}" for k in range(seen.shape[1]))]
    return pictures.examples(rows, path, "Views of test images", (float(given.min()), float(given.max())), names)


@torch.inference_mode()
def draw_completed(chain: Chain, data: DataSet, path: Path) -> Path:
    """Some test images, the same with their hidden patches in grey, and with those that the net paints there."""
    images = data.given["test"].x
    rows, like = _some(images), next(chain.parameters())
    batch = data.test.batch(rows)
    assert batch.x is not None
    painted = chain.eval()(batch.x.to(like), batch).to(batch.x)
    hidden, side = batch[HIDDEN][:, :, None], math.isqrt(painted.shape[2] // images.shape[1])
    low, high = float(images[rows].min()), float(images[rows].max())
    shown = [images[rows]]
    for fill in (torch.full_like(painted, (low + high) / 2), painted):
        shown.append(batch.x + images_of(fill.masked_fill(~hidden, 0.0), side, batch.x.shape[-2:]))
    drawn = [list(each.double().cpu().numpy()) for each in shown]
    return pictures.examples(drawn, path, "Hidden patches of test images", (low, high), ["image", "seen", "completed"])


@torch.inference_mode()
def draw_crossed(chain: Chain, data: DataSet, cut: int, path: Path) -> Path:
    """Some test examples; each with what follows feature `cut` of the last axis as drawn from what comes before it; and
    the other way round."""
    rows, like = _some(data.test.x), next(chain.parameters())
    batch = data.test.batch(rows)
    assert batch.x is not None
    x, drawn = batch.x, chain.eval()(batch.x.to(like), batch).to(batch.x)
    one, other = (torch.cat([a[..., :cut], b[..., cut:]], -1) for a, b in ((x, drawn), (drawn, x)))
    shown = [list(each.double().cpu().numpy()) for each in (x, one, other)]
    names, wide = ["as it is", "second from first", "first from second"], x.shape[-1]
    title = "Each view drawn from the other: the framed half by the net, which saw the other alone"
    framed, scale = {1: (cut, wide), 2: (0, cut)}, (float(x.min()), float(x.max()))
    return pictures.examples(shown, path, title, scale, names, framed=framed)


def _some(images: Tensor) -> Tensor:
    """Rows from the first to the last, as sets may be sorted by class."""
    return torch.linspace(0, len(images) - 1, min(SHOWN, len(images))).long().to(images.device)
