"""Pictures of what a classifier looks at, as PNG: filters, attributions, adversarial examples, robustness curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from unlocked.colors import BLUE, GREY, PALETTE, VERMILION, scheme_color
from unlocked.drawing.style import INK, drawing, headline, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {"noise": ":", "fgsm": "--", "pgd": "-"}
MOST_FILTERS = 64


@dataclass(frozen=True)
class Row:
    """One line of a grid, an array for each example: images `(channels, height, width)`, sequences `(positions,
    features)` as maps, or vectors as bars.

    `kind`: "input", shown between the two values of `scale`; "heat", from 0 up; "signed", around 0, both to the largest
    value of each array.
    """

    name: str
    arrays: Sequence[np.ndarray]
    kind: Literal["input", "heat", "signed"]
    scale: tuple[float, float] = (0.0, 1.0)
    captions: Sequence[str] = field(default=())


def grid(rows: Sequence[Row], path: Path, title: str) -> Path:
    """Example by example to the right, row below row."""
    columns, shape = len(rows[0].arrays), rows[0].arrays[0].shape
    width, height = (1.0, 1.0) if len(shape) == 3 else (1.5, 0.95)
    margin = 0.3 + 0.085 * max(len(line) for row in rows for line in row.name.splitlines())
    size = (
        max(columns * width + margin, 0.1 * len(title) + 0.5),
        0.45 + sum(height + 0.2 * bool(r.captions) for r in rows),
    )
    with drawing(path, columns, size, len(rows)) as (figure, panels):
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        headline(figure, title)
        for nth, panel in enumerate(panels):
            row, column = rows[nth // columns], nth % columns
            panel.set(xticks=[], yticks=[])
            panel.grid(False)
            panel.spines[:].set_visible(True)
            panel.spines[:].set_color("#DDDDDD")
            _show(panel, row.arrays[column], row.kind, row.scale)
            if column == 0:
                panel.set_ylabel(row.name, rotation=0, ha="right", va="center", fontsize=9, color=INK)
            if row.captions:
                panel.set_title(
                    literal(row.captions[column]), fontsize=8.5, fontweight="normal", loc="center", color=INK, pad=2
                )
    return path


def filters(weights: np.ndarray, path: Path, title: str) -> Path:
    """Weights of the first layer: `(filters, 1 or 3 or more channels, height, width)` as images, a channel's mean if
    there are others; `(filters, inputs)` as one map."""
    if weights.ndim == 2:
        with drawing(path, size=(7.0, 4.2)) as (figure, (panel,)):
            most = float(np.abs(weights).max()) or 1.0
            image = panel.imshow(weights, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
            panel.grid(False)
            panel.set(title=title, xlabel="input", ylabel="unit")
            figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03).outline.set_visible(False)
        return path
    shown = weights[:MOST_FILTERS]
    columns = min(16, max(4, int(np.ceil(np.sqrt(2 * len(shown))))))
    lines = -(-len(shown) // columns)
    more = f", the first {len(shown)} of {len(weights)}" if len(weights) > len(shown) else ""
    with drawing(path, columns, (0.62 * columns + 0.2, 0.62 * lines + 0.5), lines) as (figure, panels):
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        headline(figure, title + more)
        for nth, panel in enumerate(panels):
            panel.set(xticks=[], yticks=[])
            panel.grid(False)
            panel.spines[:].set_visible(False)
            if nth < len(shown):
                _show(panel, shown[nth], "signed", (0, 1))
    return path


def words(sentences: Sequence[tuple[Sequence[str], Sequence[float], str]], path: Path, title: str) -> Path:
    """Sentences as `(tokens, a number for each, caption)`: blue under what speaks for the class, orange against it."""
    most = max((len(tokens) for tokens, _, _ in sentences), default=1)
    with drawing(path, 1, (max(7.0, 0.5 * most), 0.62 * len(sentences) + 0.6), len(sentences)) as (figure, panels):
        headline(figure, title)
        for panel, (tokens, values, caption) in zip(panels, sentences, strict=True):
            panel.set(xticks=[], yticks=[], xlim=(0, max(1, sum(len(t) + 1 for t in tokens))), ylim=(0, 1))
            panel.grid(False)
            panel.spines[:].set_visible(False)
            panel.set_title(literal(caption), fontsize=8.5, fontweight="normal", color=INK, pad=2)
            largest, at = max(map(abs, values), default=0.0) or 1.0, 0.0
            for token, value in zip(tokens, values, strict=True):
                wide = len(token) + 1
                colour = BLUE if value > 0 else VERMILION
                panel.axvspan(at, at + wide, color=colour, alpha=0.75 * min(1.0, abs(value) / largest), linewidth=0)
                panel.text(at + wide / 2, 0.5, literal(token), ha="center", va="center", fontsize=7.5, color=INK)
                at += wide
    return path


Curve = Sequence[tuple[float, Sequence[float]]]  # at each epsilon a value per run


def robustness(white: Mapping[str, Mapping[str, Curve]], transfer: Mapping[str, Curve], path: Path) -> Path:
    """Accuracy over epsilon. `white`: by label (a scheme) and attack, with a band from the worst run to the best.
    `transfer`: by label (made against whom, shown to whom), in a panel of its own."""
    panels_in_all = 2 if transfer else 1
    with drawing(path, panels_in_all, (5.6 * panels_in_all + 0.6, 4.3)) as (_, panels):
        for label, attacks in white.items():
            for attack, curve in attacks.items():
                name = label if attack == "pgd" else None
                _line(panels[0], curve, scheme_color(label), STYLES[attack], name)
        for attack, style in STYLES.items():
            panels[0].plot(
                [], [], color=GREY, linestyle=style, label={"noise": "random signs"}.get(attack, attack.upper())
            )
        panels[0].set(title="Under attacks on the run itself")
        for nth, (label, curve) in enumerate(transfer.items()):
            _line(panels[1], curve, PALETTE[nth % len(PALETTE)], "-", label)
        if transfer:
            panels[1].set(title="Under PGD examples of another run")
        for panel in panels:
            panel.set(xlabel="epsilon (share of the range of an input)", ylabel="accuracy", ylim=(-0.03, 1.03))
            panel.legend(fontsize=8)
    return path


def _line(panel: Axes, curve: Curve, colour: str, style: str, label: str | None) -> None:
    epsilons = [epsilon for epsilon, _ in curve]
    means = [float(np.mean(values)) for _, values in curve]
    panel.plot(epsilons, means, color=colour, linestyle=style, marker="o", markersize=3.5, label=label)
    if any(len(values) > 1 for _, values in curve):
        low, high = [min(values) for _, values in curve], [max(values) for _, values in curve]
        panel.fill_between(epsilons, low, high, color=colour, alpha=0.15, linewidth=0)


def _show(panel: Axes, array: np.ndarray, kind: str, scale: tuple[float, float]) -> None:
    most = float(np.abs(array).max()) or 1.0
    low, high = scale if kind == "input" else (0.0, most) if kind == "heat" else (-most, most)
    colours = {"input": "gray_r", "heat": "Oranges", "signed": "RdBu_r"}[kind]
    if array.ndim == 1:
        panel.bar(np.arange(len(array)), array, width=1.0, color=VERMILION if kind == "heat" else BLUE)
        room = 0.05 * max(high - low, 1e-9)
        panel.set_ylim(low - room, high + room)
    elif array.ndim == 3 and array.shape[0] == 3 and kind != "heat":
        image = array.transpose(1, 2, 0)
        panel.imshow(np.clip((image - low) / max(high - low, 1e-9), 0, 1))
    else:
        image = array.T if array.ndim == 2 else array.max(0) if kind == "heat" else array.mean(0)
        panel.imshow(image, cmap=colours, vmin=low, vmax=high, aspect="auto" if array.ndim == 2 else "equal")
