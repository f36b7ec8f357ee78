"""Words in the plane: where t-SNE puts their vectors, coloured by part of speech if the text says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.data.text import SPECIAL
from unlocked.data.word_classes import PARTS, counted, main_class, part_of
from unlocked.drawing.figures import BLUE, GREY, drawing, literal

SHOWN = 220  # words, at most
COMMON = 40  # the most frequent words, which stand near everything, are left out if there are others


def map_of_words(data: DataSet, vectors: Tensor, path: Path) -> Path:
    """The frequent words of the training text, near each other if the cosine of their vectors is."""
    import matplotlib

    assert data.symbols is not None
    ids, parts = _chosen(data)
    xy = _in_the_plane(F.normalize(vectors[ids].double().cpu(), dim=1).numpy())
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    seen = [] if parts is None else [part for part in np.unique(parts) if part]
    with drawing(path, size=(12.0, 9.0)) as (_, (panel,)):
        panel.set(xticks=[], yticks=[], title=f"Vectors of {len(ids)} frequent words (t-SNE of cosines)")
        panel.grid(False)
        panel.scatter(xy[:, 0], xy[:, 1], s=0)  # for the limits
        for i, (x, y) in enumerate(xy):
            part = 0 if parts is None else int(parts[i])
            colour = BLUE if parts is None else colours[seen.index(part) % len(colours)] if part else GREY
            word = literal(data.symbols[int(ids[i])])
            panel.text(x, y, word, fontsize=7.5, ha="center", va="center", color=colour)
        for place, part in enumerate(seen):
            panel.plot([], [], "s", color=colours[place % len(colours)], label=PARTS[part])
        if seen:
            panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return path


def _chosen(data: DataSet) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids of words of letters, and the part of speech of each, if the text says it."""
    assert data.symbols is not None
    count = torch.bincount(data.train.x.flatten().cpu(), minlength=len(data.symbols)).numpy()
    ids = np.argsort(-count, kind="stable")
    ids = np.array([i for i in ids if i >= len(SPECIAL) and count[i] and data.symbols[i].isalpha()], dtype=np.int64)
    if len(ids) == 0:
        ids = np.argsort(-count, kind="stable")[:SHOWN]
    chosen = ids[COMMON : COMMON + SHOWN] if len(ids) > 2 * COMMON else ids[:SHOWN]
    tagged = counted(data)
    if tagged is None:
        return chosen, None
    by_part = np.zeros((len(tagged), len(PARTS)), tagged.dtype)
    np.add.at(by_part.T, part_of(), tagged.T)
    return chosen, main_class(by_part)[chosen]


def _in_the_plane(x: np.ndarray) -> np.ndarray:
    """`(n, 2)`; the same for the same vectors."""
    if len(x) < 8 or not np.ptp(x, axis=0).any():
        return x[:, :2] if x.shape[1] > 1 else np.repeat(x, 2, 1)
    from sklearn.manifold import TSNE

    plane = TSNE(2, perplexity=min(12, (len(x) - 1) // 3), init="pca", random_state=0, max_iter=600)
    return np.asarray(plane.fit_transform(x))
