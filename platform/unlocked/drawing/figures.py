"""The figures of a run: learning curves, confusion matrix, attention, alignment, the loss of M.

Drawn from the spool's history (`read(run_dir)`), without MLflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from unlocked.colors import BLUE, GREEN, VERMILION
from unlocked.drawing.style import INK, drawing, headline, in_percent, literal
from unlocked.metrics import axis_label, by_module, higher_is_better, is_share
from unlocked.tracking.spool import History

Points = list[tuple[int, float]]

# of each split: its colour, and the word for it
SPLITS = {"train": (BLUE, "training"), "val": (VERMILION, "validation"), "test": (GREEN, "test")}

MOST_BESIDE = 3  # panels in a row


def learning_curves(history: History, path: Path) -> Path | None:
    """Loss over steps, beside it up to four metrics: of each training, validation and test together, the best marked.

    The test split is met once, at the end, by the best weights: a level across its panel. A validation loss that only
    repeats a metric (the Frechet distance of made images, say) is no curve beside the training loss, nor is that of
    the test split. None, and no file, if the history holds none of them.
    """
    scores = [key for key in sorted(history) if key.startswith("val/") and key != "val/loss"][:4]
    repeats = any(history[key] == history.get("val/loss") for key in scores)
    losses = [key for key in ("train/loss", *["val/loss"] * (not repeats)) if history.get(key)]
    if not losses and not scores:
        return None
    panels = bool(losses) + len(scores)
    rows = math.ceil(panels / MOST_BESIDE)
    columns = math.ceil(panels / rows)
    size = (4.9 * columns + 0.4, 0.3 + 3.5 * rows)
    with drawing(path, columns, size, rows) as (figure, axes):
        for spare in axes[panels:]:
            spare.remove()
        axes = axes[:panels]
        if losses:
            panel = axes.pop(0)
            _splits(panel, history, "loss", losses, tested=not repeats)
            panel.set(title="Loss")
            _log_if_wide(panel, [value for key in losses for _, value in history[key]])
        for panel, key in zip(axes, scores, strict=True):
            name = key.removeprefix("val/")
            drawn = _splits(panel, history, name, [k for k in (f"train/{name}", key) if history.get(k)])
            best = _mark_best(panel, history[key], key)
            if is_share(key):
                _share_axis(panel, drawn)
            panel.set(title=f"Validation {name.replace('_', ' ')}{best}")
        headline(figure, "Learning curves")
    return path


def _splits(panel: Axes, history: History, metric: str, keys: Sequence[str], tested: bool = True) -> Points:
    """The curves of a metric, and the test split's value as a level; all points that were drawn."""
    drawn = [point for key in keys for point in history[key]]
    for key in keys:
        _curve(panel, history[key], *SPLITS[key.partition("/")[0]])
    key_of_test = f"test/{metric}"
    found = history.get(key_of_test) if tested else None
    if found and keys:
        colour, word = SPLITS["test"]
        panel.axhline(
            found[-1][1],
            color=colour,
            linewidth=1.4,
            linestyle="--",
            label=f"{word} {_said(found[-1][1], key_of_test)}",
        )
        drawn = [*drawn, found[-1]]
    panel.set(xlabel="step (minibatches)", ylabel=axis_label(f"val/{metric}"))
    panel.legend()
    return drawn


def confusion_matrix(
    targets: Sequence[int], predictions: Sequence[int], class_names: Sequence[str], path: Path
) -> Path:
    """Counts of every true class (row) against the predicted one; the colour is the share of the row."""
    import numpy as np
    from sklearn.metrics import confusion_matrix as count

    counts = count(targets, predictions, labels=range(len(class_names)))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(class_names)
    ticks = np.arange(0, n, max(1, math.ceil(n / 30)))
    names = [literal(_cut(str(class_names[int(tick)]))) for tick in ticks]
    upright = max(map(len, names)) <= 3
    beside = 0.3 + 0.085 * max(map(len, names))  # inches, for the names
    below = 0.3 if upright else beside
    side = min(max(2.6, 0.42 * n), 10.5)
    with drawing(path, size=(max(side + beside + 1.4, 6.2), side + below + 0.7)) as (figure, (panel,)):
        image = panel.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
        panel.set_xticks(ticks, names, rotation=0 if upright else 90)
        panel.set_yticks(ticks, names)
        panel.grid(False)
        panel.spines[["left", "bottom"]].set_visible(False)
        panel.tick_params(length=0)
        if n <= 20:
            for (row, column), number in np.ndenumerate(counts):
                if number:
                    ink = "white" if share[row, column] > 0.5 else "#222222"
                    panel.text(column, row, str(number), ha="center", va="center", color=ink, fontsize=8)
        accuracy = np.trace(counts) / max(counts.sum(), 1)
        total = counts.sum()
        panel.set(xlabel="predicted class", ylabel="true class")
        headline(figure, f"Confusion matrix: accuracy {accuracy:.1%} on {total} test examples")
        bar = figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
    return path


def _cut(name: str) -> str:
    """Both ends of a long name: classes of one set often begin alike."""
    return name if len(name) <= 28 else f"{name[:15]}…{name[-12:]}"


def attention(maps: Sequence[tuple[Sequence[Sequence[float]], Sequence[str], Sequence[str]]], path: Path) -> Path:
    """One heat map for each of `(weights, source tokens, target tokens)`: a row of weights, which sum to one, for every
    target token."""
    widest, highest = max(len(source) for _, source, _ in maps), max(len(target) for _, _, target in maps)
    size = (len(maps) * (0.26 * widest + 1.5), 0.26 * highest + 1.6)
    with drawing(path, columns=len(maps), size=size) as (figure, panels):
        for panel, (weights, source, target) in zip(panels, maps, strict=True):
            image = panel.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
            panel.set_xticks(range(len(source)), list(map(literal, source)), rotation=60, ha="right", fontsize=8)
            panel.set_yticks(range(len(target)), list(map(literal, target)), fontsize=8)
            panel.grid(False)
            panel.spines[["left", "bottom"]].set_visible(False)
            panel.tick_params(length=0)
        panels[0].set(ylabel="written")
        headline(figure, "Attention: where the net looks for each word that it writes")
        bar = figure.colorbar(image, ax=panels, fraction=0.02, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label("weight")
    return path


def alignment(history: History, path: Path) -> Path | None:
    """The gradient each module was given against the true one, over steps: cosine of the whole batch, mean cosine of an
    example, ratio of their norms. None without such metrics."""
    panels = [
        (title, label, modules)
        for title, label, prefix in (
            ("Direction, whole minibatch", "cosine", "align/"),
            ("Direction, example by example", "mean cosine", "align/per_example/"),
            ("Length", "norm, injected / true", "align/norm_ratio/"),
        )
        if (modules := _drawn(history, prefix))
    ]
    if not panels:
        return None
    size = (7.2 if len(panels) == 1 else 4.4 * len(panels) + 1.2, 4.0)
    with drawing(path, columns=len(panels), size=size) as (figure, axes):
        for nth, (axis, (title, label, modules)) in enumerate(zip(axes, panels, strict=True)):
            _module_curves(axis, modules, legend=nth == len(panels) - 1)
            if label.startswith("norm"):
                _level(axis, 1.0, "as long as the true one")
                _log_if_wide(axis, [value for points in modules.values() for _, value in points])
            else:
                _level(axis, 0.0, "no better than chance")
                axis.set_ylim(-1.05, 1.05)
                axis.set_yticks([-1.0, -0.5, 0.0, 0.5, 1.0])
            axis.set(xlabel="step (minibatches)", ylabel=label, title=title)
        headline(figure, "Injected gradient against the true one")
    return path


def sg_loss(history: History, path: Path) -> Path | None:
    """How well each module's synthetic-gradient model M predicts: its loss over its target's mean square, where 1 is no
    better than saying zero, or of older runs the loss itself; beside it the loss of the input models, if modules run on
    synthetic inputs. None without such metrics."""
    relative = _drawn(history, "sg/relative_loss/")
    panels = [
        ("Synthetic gradients", "squared error / mean square of the target", relative)
        if relative
        else ("Synthetic gradients", "squared error per example", _drawn(history, "sg/loss/")),
        ("Synthetic inputs", "squared error per example", _drawn(history, "inputs/loss/")),
    ]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    with drawing(path, columns=len(panels), size=(5.4 * len(panels) + 1.2, 4.0)) as (figure, axes):
        for nth, (axis, (title, label, modules)) in enumerate(zip(axes, panels, strict=True)):
            _module_curves(axis, modules, legend=nth == len(panels) - 1)
            if modules is relative:
                _level(axis, 1.0, "no better than zero")
            _log_if_wide(axis, [value for points in modules.values() for _, value in points])
            axis.set(title=title, xlabel="step (minibatches)", ylabel=label)
        headline(
            figure, "What M and I have learned" if len(panels) > 1 else "What the synthetic-gradient models learned"
        )
    return path


def _level(panel: Axes, at: float, words: str) -> None:
    """A line across the panel, with what it means."""
    panel.axhline(at, color=INK, linewidth=1.0, zorder=1)
    panel.annotate(
        words, (1, at), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", fontsize=8
    )


def _curve(panel: Axes, points: Sequence[tuple[int, float]], colour: str, label: str) -> None:
    """A line; a long noisy one is drawn pale under its running mean. Few points get dots."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    if len(points) > 200:
        panel.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        values = _running_mean(values, span=max(2, len(points) // 100))
    marker = "o" if len(points) <= 40 else None
    panel.locator_params(axis="x", integer=True, min_n_ticks=1)  # no step is 12.5
    panel.plot(steps, values, color=colour, label=label, marker=marker, markersize=3.5)


def _running_mean(values: Sequence[float], span: int) -> list[float]:
    """Mean of the finite values within `span` around each point; it neither lags nor leads."""
    means = []
    for place in range(len(values)):
        near = [value for value in values[max(0, place - span) : place + span + 1] if math.isfinite(value)]
        means.append(math.fsum(near) / len(near) if near and math.isfinite(values[place]) else math.nan)
    return means


def _log_if_wide(panel: Axes, values: Sequence[float]) -> None:
    finite = sorted(value for value in values if math.isfinite(value))
    if finite and finite[0] > 0 and finite[-1] / finite[0] > 50:
        panel.set_yscale("log")


def _mark_best(panel: Axes, points: Sequence[tuple[int, float]], metric: str) -> str:
    """Ring the best point; what to say of it in the title."""
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return ""
    choose = max if higher_is_better(metric) else min
    step, value = choose(finite, key=lambda point: point[1])
    panel.plot([step], [value], "o", markersize=9, mfc="none", mec="#222222", zorder=5)
    return f", best {_said(value, metric)}"


def _said(value: float, metric: str) -> str:
    if is_share(metric):
        return f"{value:.1%}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share_axis(panel: Axes, points: Sequence[tuple[int, float]]) -> None:
    finite = [value for _, value in points if math.isfinite(value)]
    if finite and min(finite) >= 0.0 and max(finite) <= 1.0:
        room = 0.06 * max(max(finite) - min(finite), 0.02)
        panel.set_ylim(min(finite) - 4 * room, min(1.0 + room, max(finite) + 2 * room))
        in_percent(panel.yaxis)


def _drawn(history: History, prefix: str) -> dict[int, Points]:
    return {k: points for k, points in by_module(history, prefix).items() if points}


def _module_curves(panel: Axes, modules: dict[int, Points], legend: bool = True) -> None:
    """One line per module, dark at the input and bright towards the output."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"]
    for place, (module, points) in enumerate(modules.items()):
        shade = 0.88 * place / max(1, len(modules) - 1)
        _curve(panel, points, matplotlib.colors.to_hex(shades(shade)), f"module {module}")
    columns = 1 + (len(modules) - 1) // 12
    if legend:
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=columns, handlelength=1.4)
