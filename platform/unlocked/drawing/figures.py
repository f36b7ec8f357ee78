"""The figures of a run, as PNG: learning curves, confusion matrix, alignment, SG loss.

Drawn from the spool's history (`read(run_dir)`), without MLflow. Colours are Okabe and Ito's, told apart by
colour-blind readers; matplotlib is imported on the first figure and no window is ever opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from unlocked.metrics import by_module, higher_is_better, is_share
from unlocked.tracking.spool import History

Points = list[tuple[int, float]]

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8A8A"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
}


def learning_curves(history: History, path: Path) -> Path | None:
    """Training and validation loss over steps, beside it up to four other validation metrics, best marked.

    A validation loss that only repeats one of them (the Frechet distance of made images, say) is no curve beside the
    training loss. None, and no file, when the history holds none of them.
    """
    scores = [key for key in sorted(history) if key.startswith("val/") and key != "val/loss"][:4]
    repeats = any(history[key] == history.get("val/loss") for key in scores)
    losses = [key for key in ("train/loss", *["val/loss"] * (not repeats)) if history.get(key)]
    if not losses and not scores:
        return None
    with drawing(path, columns=bool(losses) + len(scores)) as (_, axes):
        if losses:
            panel = axes.pop(0)
            for key in losses:
                colour, label = (BLUE, "training") if key == "train/loss" else (ORANGE, "validation")
                _curve(panel, history[key], colour, label)
            panel.set(title="Loss", xlabel="step")
            _log_if_wide(panel, [value for key in losses for _, value in history[key]])
            panel.legend()
        for panel, key in zip(axes, scores, strict=True):
            name = key.removeprefix("val/").replace("_", " ")
            _curve(panel, history[key], ORANGE, "validation")
            best = _mark_best(panel, history[key], key)
            if is_share(key):
                _share_axis(panel, history[key])
            panel.set(title=f"Validation {name}{best}", xlabel="step")
    return path


def confusion_matrix(
    targets: Sequence[int], predictions: Sequence[int], class_names: Sequence[str], path: Path
) -> Path:
    """Counts of every true class (row) against the predicted one; the colour is the share of the row."""
    import numpy as np
    from sklearn.metrics import confusion_matrix as count

    counts = count(targets, predictions, labels=range(len(class_names)))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(class_names)
    side = min(max(4.2, 0.42 * n + 1.8), 12.0)
    with drawing(path, size=(side + 0.7, side)) as (figure, (panel,)):
        image = panel.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
        ticks = np.arange(0, n, max(1, math.ceil(n / 30)))
        names = [literal(str(class_names[int(tick)])) for tick in ticks]
        upright = max(map(len, names)) <= 3
        panel.set_xticks(ticks, names, rotation=0 if upright else 45, ha="center" if upright else "right")
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
        panel.set(xlabel="predicted", ylabel="true", title=f"Accuracy {accuracy:.1%} on {total} examples")
        bar = figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
    return path


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
        panels[0].set(title="Attention", ylabel="written")
        bar = figure.colorbar(image, ax=panels, fraction=0.02, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label("weight")
    return path


def alignment(history: History, path: Path) -> Path | None:
    """The gradient each module was given against the true one, over steps: cosine of the whole batch, mean cosine of an
    example, ratio of their norms. None without such metrics."""
    panels = [
        (title, modules)
        for title, prefix in (
            ("cosine", "align/"),
            ("cosine, mean over examples", "align/per_example/"),
            ("norm, injected / true", "align/norm_ratio/"),
        )
        if (modules := _drawn(history, prefix))
    ]
    if not panels:
        return None
    size = (7.2 if len(panels) == 1 else 5.2 * len(panels) + 1.0, 4.2)
    with drawing(path, columns=len(panels), size=size) as (_, axes):
        for nth, (axis, (title, modules)) in enumerate(zip(axes, panels, strict=True)):
            _module_curves(axis, modules, legend=nth == len(panels) - 1)
            if title.startswith("norm"):
                axis.axhline(1.0, color="#333333", linewidth=1.0, zorder=1)
                _log_if_wide(axis, [value for points in modules.values() for _, value in points])
            else:
                axis.axhline(0.0, color="#333333", linewidth=1.0, zorder=1)
                axis.set_ylim(-1.05, 1.05)
                axis.set_yticks([-1.0, -0.5, 0.0, 0.5, 1.0])
            axis.set(xlabel="step", ylabel=title)
        axes[0].set(title="Injected against true gradient")
    return path


def sg_loss(history: History, path: Path) -> Path | None:
    """Loss of each module's synthetic-gradient model over steps, and of its input model where it runs on synthetic
    inputs, logarithmic; None without such metrics."""
    panels = [
        (title, modules)
        for title, prefix in (
            ("Loss of the synthetic-gradient models", "sg/loss/"),
            ("Loss of the input models", "inputs/loss/"),
        )
        if (modules := _drawn(history, prefix))
    ]
    if not panels:
        return None
    with drawing(path, columns=len(panels), size=(6.2 * len(panels) + 1.0, 4.2)) as (_, axes):
        for axis, (title, modules) in zip(axes, panels, strict=True):
            _module_curves(axis, modules)
            if all(value > 0 for points in modules.values() for _, value in points if math.isfinite(value)):
                axis.set_yscale("log")
            axis.set(title=title, xlabel="step", ylabel="squared error")
    return path


def literal(text: str) -> str:
    """Text that matplotlib shows as it is: between two dollars it would set a formula."""
    return text.replace("$", r"\$")


@contextmanager
def drawing(
    path: Path, columns: int = 1, size: tuple[float, float] | None = None, rows: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in the house style, written to `path` when the block ends; its panels row by row."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size or (4.9 * columns + 0.4, 3.8), dpi=140, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if Path(path).suffix == ".png":
            canvas.print_png(path)  # type: ignore[no-untyped-call]  # savefig lays everything out twice
        else:
            figure.savefig(path)


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
    return f", best {value:.1%}" if is_share(metric) else f", best {_short(value)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share_axis(panel: Axes, points: Sequence[tuple[int, float]]) -> None:
    finite = [value for _, value in points if math.isfinite(value)]
    if finite and min(finite) >= 0.0 and max(finite) <= 1.0:
        from matplotlib.ticker import PercentFormatter

        room = 0.06 * max(max(finite) - min(finite), 0.02)
        panel.set_ylim(min(finite) - 4 * room, min(1.0 + room, max(finite) + 2 * room))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))


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
