"""Pictures of examples, as PNG: grids of images or curves, and maps of codes in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from unlocked.colors import BLUE, CLASSES
from unlocked.drawing.style import INK, drawing, headline


def examples(
    rows: Sequence[Sequence[np.ndarray]],
    path: Path,
    title: str,
    scale: tuple[float, float],
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    framed: Mapping[int, tuple[float, float]] | None = None,
) -> Path:
    """A grid of examples, row by row: images `(channels, height, width)` of one or three channels, otherwise sequences
    `(positions, features)` as maps, time to the right, or series `(positions,)` as curves. A row may be shorter than
    the others. `scale`: the values that are shown as paper and as ink. `framed`: by row, the columns of pixels, from
    and to, that have a frame, if it shows images.
    """
    width, height = _panel_size(rows[0][0])
    columns = max(map(len, rows))
    margin = 0.3 + 0.085 * max([len(name) for name in row_names], default=0)
    size = (
        max(columns * width + margin, 0.1 * len(title) + 0.5),
        len(rows) * height + 0.55 + 0.25 * max((1 + name.count("\n") for name in column_names), default=0),
    )
    with drawing(path, columns, size, len(rows)) as (figure, panels):
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.025, h_pad=0.025, wspace=0, hspace=0)
        headline(figure, title)
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            example = rows[row][column] if column < len(rows[row]) else None
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(example is not None)
            panel.spines[:].set_color("#DDDDDD")
            if example is not None:
                _show(panel, example, *scale)
                if framed and row in framed and example.ndim == 3:
                    _frame(panel, *framed[row], example.shape[-2])
            if column == 0 and row < len(row_names):
                panel.set_ylabel(row_names[row], rotation=0, ha="right", va="center", fontsize=9, color=INK)
            if row == 0 and column < len(column_names):
                panel.set_title(column_names[column], fontsize=9, fontweight="normal", loc="center", color=INK)
    return path


def _frame(panel: Axes, left: float, right: float, height: int) -> None:
    from matplotlib.patches import Rectangle

    place, size = (left - 0.5, -0.5), (right - left, height)
    panel.add_patch(Rectangle(place, *size, fill=False, edgecolor="#D55E00", linewidth=1.2, clip_on=False, zorder=3))


def planes(points: Mapping[str, np.ndarray], labels: np.ndarray | None, names: Sequence[str], path: Path) -> Path:
    """Scatter plots of `(n, 2)` points, one for each title, coloured by class, or by value if labels are real.

    Up to ten classes have colours of their own and their name at their middle; more share a scale.
    """
    from matplotlib.patheffects import withStroke

    with drawing(path, len(points), (5.0 * len(points) + 0.4, 4.9)) as (figure, panels):
        headline(figure, "Test examples in the plane")
        for panel, (title, xy) in zip(panels, points.items(), strict=True):
            panel.set(title=title, xticks=[], yticks=[])
            panel.grid(False)
            panel.spines[:].set_visible(True)
            panel.spines[:].set_color("#CCCCCC")
            if labels is None:
                panel.scatter(xy[:, 0], xy[:, 1], s=14, color=BLUE, alpha=0.7, linewidths=0)
                continue
            classes = np.unique(labels) if np.issubdtype(labels.dtype, np.integer) else np.array([])
            if not 0 < len(classes) <= 10:
                dots = panel.scatter(xy[:, 0], xy[:, 1], s=14, c=labels, cmap="viridis", alpha=0.8, linewidths=0)
                if panel is panels[-1]:
                    figure.colorbar(dots, ax=panel, fraction=0.046, pad=0.03).outline.set_visible(False)
                continue
            for place, label in enumerate(classes):
                mine = xy[labels == label]
                panel.scatter(mine[:, 0], mine[:, 1], s=14, color=CLASSES[place], alpha=0.75, linewidths=0)
            for place, label in enumerate(classes):  # above all dots
                x, y = np.median(xy[labels == label], axis=0)
                panel.text(
                    x,
                    y,
                    str(names[int(label)]),
                    color=CLASSES[place],
                    fontsize=13,
                    fontweight="bold",
                    ha="center",
                    va="center",
                    path_effects=[withStroke(linewidth=3, foreground="white")],
                )
    return path


def _panel_size(example: np.ndarray) -> tuple[float, float]:
    """Inches: images keep their proportions."""
    if example.ndim == 3:
        return 0.72 * min(2.0, max(0.5, example.shape[2] / example.shape[1])), 0.72
    return (1.5, 0.95) if example.ndim == 1 else (1.4, 0.9)


def _show(panel: Axes, example: np.ndarray, low: float, high: float) -> None:
    if example.ndim == 1:
        panel.plot(example, color=BLUE, linewidth=1.2)
        room = 0.08 * (high - low)
        panel.set_ylim(low - room, high + room)
        panel.grid(False)
    elif example.ndim == 3 and example.shape[0] == 3:
        panel.imshow(np.clip((example.transpose(1, 2, 0) - low) / max(high - low, 1e-9), 0, 1))
    else:
        image = example[0] if example.ndim == 3 else example.T
        panel.imshow(image, cmap="gray_r", vmin=low, vmax=high, aspect="equal" if example.ndim == 3 else "auto")
