"""Figures of graphs: nodes by their embeddings, and how much each neighbour counts for a node that attends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unlocked.colors import BLUE, CLASSES, GREY, VERMILION
from unlocked.drawing.style import drawing, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGIBLE = 16  # bars
_MARKERS = ("o", "s", "^")


def projected(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`h (nodes, features)` on its first two principal axes, and which share of its variance each has."""
    centred = np.nan_to_num(h.astype(np.float64))
    centred = centred - centred.mean(0)
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    shares = deviations**2 / max((deviations**2).sum(), 1e-30)
    flat = centred @ axes[:2].T
    if flat.shape[1] < 2:  # of one feature
        flat, shares = np.pad(flat, ((0, 0), (0, 1))), np.append(shares, 0.0)
    return flat, shares[:2]


def node_embeddings(h: np.ndarray, classes: Sequence[int], class_names: Sequence[str], path: Path) -> Path:
    """Nodes where the last hidden layer puts them, each at length 1, on the two axes of most variance.

    The colour is the true class, grey for nodes whose class is not asked for (-1). Directions tell classes apart; the
    length of a few nodes would crowd all others together.
    """
    places, shares = projected(h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12))
    of = np.asarray(classes)
    with drawing(path, size=(6.6, 4.6)) as (_, (panel,)):
        _dots(panel, places[of < 0], 5, color=GREY, alpha=0.25)
        shown = np.flatnonzero(of >= 0)
        np.random.default_rng(0).shuffle(shown)  # else the last class would cover the others
        for turn, marker in enumerate(_MARKERS):  # of more than ten classes
            mine = shown[of[shown] // len(CLASSES) % len(_MARKERS) == turn]
            _dots(panel, places[mine], 9, color=[CLASSES[c % len(CLASSES)] for c in of[mine]], marker=marker, alpha=0.8)
        for c, name in enumerate(class_names):
            if (of == c).any():
                marker = _MARKERS[c // len(CLASSES) % len(_MARKERS)]
                _dots(panel, places[:0], 20, color=CLASSES[c % len(CLASSES)], marker=marker, label=literal(name))
        if (of < 0).any():
            _dots(panel, places[:0], 20, color=GREY, alpha=0.5, label="not a test node")
        _axes(panel, shares, "Nodes by the last hidden layer")
        panel.legend(title="class", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return path


def embedded_links(
    z: np.ndarray, links: Sequence[Sequence[int]], absent: Sequence[Sequence[int]], path: Path, most: int = 200
) -> Path:
    """Nodes by their embeddings, on the two axes of most variance, with up to `most` links that were held out and as
    many pairs without a link."""
    places, shares = projected(z)
    with drawing(path, columns=2, size=(9.6, 4.4)) as (_, panels):
        for panel, pairs, colour, title in (
            (panels[0], links, BLUE, "Held-out links"),
            (panels[1], absent, VERMILION, "Pairs without a link"),
        ):
            for pair in list(pairs)[:most]:
                panel.plot(*places[list(pair)].T, color=colour, alpha=0.5, linewidth=1.0, zorder=1)
            _dots(panel, places, 9, color="#333333", zorder=2)
            _axes(panel, shares, title)
    return path


def attention(
    edges: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[int],
    class_names: Sequence[str],
    path: Path,
    nodes: int = 3,
) -> Path:
    """The neighbours of a few nodes with many, if possible of several classes: how much each counts,
    `weights (edges, heads)` averaged over the heads, `edges (2, edges)` from row 0 to row 1. Beside a bar the class of
    that neighbour; a dashed line at the weight that all would have if they counted alike."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    of, mean = np.asarray(classes), weights.mean(1)
    chosen = telling(edges, of, nodes)

    def label(node: int, centre: int) -> str:
        name = literal(class_names[of[node]]) if of[node] >= 0 else "not known"
        name = f"class {name}" if name.isdigit() else name
        return f"itself, {name}" if node == centre else name

    with drawing(path, columns=len(chosen), size=(3.6 * len(chosen) + 0.6, 4.6)) as (figure, panels):
        for panel, node in zip(panels, chosen, strict=True):
            at = np.flatnonzero(edges[1] == node)
            alike = 1 / len(at)
            at = at[np.argsort(mean[at])][-LEGIBLE:]
            theirs = of[edges[0, at]]
            unknown = (theirs < 0) | (of[node] < 0)
            shades = np.where(unknown, GREY, np.where(theirs == of[node], BLUE, VERMILION))
            panel.barh(range(len(at)), mean[at], color=shades.tolist())
            panel.axvline(alike, color="#333333", linewidth=1.0, linestyle="--")
            panel.set_yticks(range(len(at)), [label(int(edges[0, e]), node) for e in at], fontsize=8)
            panel.grid(False)
            panel.set(xlabel="attention weight", title=f"Neighbours of node {node}")
        names = {"of the same class": BLUE, "of another class": VERMILION, "class not known": GREY}
        keys: list[Any] = [Patch(color=shade, label=name) for name, shade in names.items()]
        keys.append(Line2D([], [], color="#333333", linewidth=1.0, linestyle="--", label="if all counted alike"))
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys) if len(chosen) > 1 else 2)
    return path


def telling(edges: np.ndarray, classes: np.ndarray, nodes: int) -> list[int]:
    """Nodes with many neighbours, but not too many to be legible: first those of known class, and of them those with
    most neighbours of another known class."""
    into = np.bincount(edges[1], minlength=len(classes))
    here, there = classes[edges[0]], classes[edges[1]]
    others = np.bincount(edges[1][(here >= 0) & (there >= 0) & (here != there)], minlength=len(classes))
    fit = np.flatnonzero((into > 1) & (into <= LEGIBLE))
    order = np.lexsort((-into[fit], -others[fit], classes[fit] < 0))
    return [int(node) for node in fit[order][:nodes]] or [int(into.argmax())]


def _dots(panel: Axes, places: np.ndarray, size: float, **style: Any) -> None:
    panel.scatter(places[:, 0], places[:, 1], s=size, linewidths=0, **style)


def _axes(panel: Axes, shares: np.ndarray, title: str) -> None:
    panel.grid(False)
    panel.set_xticks([])
    panel.set_yticks([])
    words = [f"axis {i + 1}, {share:.0%} of the variance" for i, share in enumerate(shares)]
    panel.set(title=title, xlabel=words[0], ylabel=words[1])
