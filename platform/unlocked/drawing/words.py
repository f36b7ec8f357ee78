"""Words in the plane: where t-SNE puts their vectors, coloured by part of speech if the text says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.colors import BLUE, CLASSES, GREY
from unlocked.data import DataSet
from unlocked.data.words.text import SPECIAL
from unlocked.data.words.word_classes import PARTS, counted, main_class, part_of
from unlocked.drawing.plane import in_the_plane
from unlocked.drawing.style import drawing, literal

SHOWN = 220  # words, at most
UNSURE = "several"  # parts of speech, or none
SIZE = 7.5  # points
ROUNDS = 1000  # at most, of moving words apart
COMMON = 40  # the most frequent words, which stand near everything, are left out if there are others


def map_of_words(data: DataSet, vectors: Tensor, path: Path) -> Path:
    """The frequent words of the training text, near each other if the cosine of their vectors is."""
    assert data.symbols is not None
    ids, parts = _chosen(data)
    xy = in_the_plane(F.normalize(vectors[ids].double().cpu(), dim=1).numpy(), min(12, (len(ids) - 1) // 3), steps=600)
    colours = [*CLASSES[:3], *CLASSES[4:8], CLASSES[9], "black", "#117733"]  # greys: no part of speech
    seen = [] if parts is None else [part for part in np.unique(parts) if part]
    with drawing(path, size=(12.0, 9.0)) as (_, (panel,)):
        panel.set(xticks=[], yticks=[], title=f"Vectors of {len(ids)} frequent words (t-SNE of cosines)")
        panel.grid(False)
        panel.scatter(xy[:, 0], xy[:, 1], s=0)  # for the limits
        unit = panel.get_window_extent().transformed(panel.figure.dpi_scale_trans.inverted())
        wide = np.array([len(data.symbols[int(i)]) for i in ids]) * 0.6 * SIZE
        xy = _apart(xy, wide, 1.2 * SIZE, (72 * unit.width, 72 * unit.height))
        for i, (x, y) in enumerate(xy):
            part = 0 if parts is None else int(parts[i])
            colour = BLUE if parts is None else colours[seen.index(part) % len(colours)] if part else GREY
            word = literal(data.symbols[int(ids[i])])
            panel.text(x, y, word, fontsize=SIZE, ha="center", va="center", color=colour)
        for place, part in enumerate(seen):
            panel.plot([], [], "s", color=colours[place % len(colours)], label=PARTS[part])
        if seen:
            panel.plot([], [], "s", color=GREY, label=UNSURE)
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


def _apart(xy: np.ndarray, wide: np.ndarray, high: float, panel: tuple[float, float]) -> np.ndarray:
    """Words `wide` and `high` moved up and down, each as little as it takes to stand clear of others; sizes in points,
    of the panel too."""
    scale = np.array(panel) / np.maximum(np.ptp(xy, axis=0), 1e-12) / 1.1  # limits stand 5 % off on both sides
    place = xy * scale
    beside = np.abs(place[:, None, 0] - place[None, :, 0]) < (wide[:, None] + wide) / 2
    np.fill_diagonal(beside, False)
    for _ in range(ROUNDS):
        above = place[:, None, 1] - place[None, :, 1]
        short = np.where(beside, np.maximum(high - np.abs(above), 0), 0)
        if not short.any():
            break
        # two at the same height go by their order
        sign = np.where(above == 0, np.sign(np.arange(len(xy))[:, None] - np.arange(len(xy))), np.sign(above))
        place[:, 1] += (sign * short).sum(1) / 4
    return np.asarray(place / scale)
