"""Figures of evolution: the search over evaluations, species over generations, a front, the wiring of a net and the
picture that it paints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlocked.colors import BLUE, GREEN, PALETTE, VERMILION
from unlocked.data import DataSet
from unlocked.data.sets.picture import places
from unlocked.drawing.style import INK, drawing, headline, literal
from unlocked_models.contract.chain import Chain
from unlocked_models.evolved import KINDS

MOST_NAMES = 24  # of units, beside the wiring
MANY = 20  # species at once
FEW = 25  # generations of which each has its dot
FINER = 16  # times as many places on a side
KIND_COLOURS = dict(zip(KINDS, (*PALETTE, "#999933"), strict=False))
BESIDE = {"species": "Species", "hypervolume": "Hypervolume", "novelty": "Novelty", "sigma": "Deviation of the draws"}


def search(losses: Sequence[Sequence[float]], numbers: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Losses of all candidates, generation by generation: the best so far and the mean of each; beside it what the
    strategy said of itself after each."""
    from matplotlib.ticker import MaxNLocator

    at = np.cumsum([len(each) for each in losses])
    best = np.minimum.accumulate([min(each) for each in losses])
    mean = np.array([np.mean([loss for loss in each if np.isfinite(loss)] or [np.nan]) for each in losses])
    beside = [(word, [each[name] for each in numbers]) for name, word in BESIDE.items() if name in numbers[0]]
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(at) <= FEW else {}
    with drawing(path, columns=1 + bool(beside)) as (figure, panels):
        panels[0].plot(at, mean, color=VERMILION, label="mean of a generation", linewidth=1.2, **dots)
        panels[0].plot(at, best, color=BLUE, label="best so far", **dots)
        seen = best[np.isfinite(best)]
        low, high = seen.min(), max(seen.max(), np.nanpercentile(mean, 90))  # a wild mutant is far off
        room = 0.06 * ((high - low) or 1.0)
        panels[0].set_ylim(low - room, high + room)
        panels[0].set(title="Loss", xlabel="evaluations (candidates)", ylabel="loss")
        panels[0].legend()
        for word, values in beside[:1]:
            panels[1].plot(at, values, color=GREEN, **dots)
            panels[1].set(title=word, xlabel="evaluations (candidates)", ylabel=word.lower())
            if all(float(value).is_integer() for value in values):
                panels[1].yaxis.set_major_locator(MaxNLocator(integer=True))
        headline(figure, "The search")
    return path


def species(sizes: Sequence[Mapping[int, int]], path: Path) -> Path:
    """Members of every species over generations, stacked; `sizes`: by the number of the species."""
    numbers = sorted({number for each in sizes for number in each})
    table = np.array([[each.get(number, 0) for each in sizes] for number in numbers])
    with drawing(path, size=(6.4, 3.8)) as (figure, (panel,)):
        panel.stackplot(
            np.arange(1, len(sizes) + 1),
            table,
            colors=[PALETTE[k % len(PALETTE)] for k in range(len(numbers))],
            edgecolor="white",
            linewidth=0.4 if max(map(len, sizes)) <= MANY else 0.1,  # or thin bands would be all edge
        )
        panel.set(xlabel="generation", ylabel="members", xlim=(1, max(2, len(sizes))))
        headline(figure, f"Species: {len(numbers)} in all, {len(sizes[-1])} at the end")
    return path


def front(points: np.ndarray, corner: tuple[float, float], volume: float, price: str, path: Path) -> Path:
    """A front of two objectives `(n, 2)`, by the first, and the area up to the corner."""
    with drawing(path) as (figure, (panel,)):
        xs, ys = np.append(points[:, 0], corner[0]), np.append(points[:, 1], points[-1, 1])
        panel.fill_between(xs, ys, corner[1], step="post", color=BLUE, alpha=0.12, linewidth=0)
        panel.step(xs, ys, where="post", color=BLUE, linewidth=1.2)
        panel.plot(points[:, 0], points[:, 1], "o", color=BLUE, markersize=4)
        for limits, values in ((panel.set_xlim, points[:, 0]), (panel.set_ylim, points[:, 1])):
            room = 0.1 * (float(np.ptp(values)) or 1.0)
            limits(float(values.min()) - room, float(values.max()) + 2 * room)  # the corner is far off
        panel.set(xlabel="loss", ylabel=price)
        headline(
            figure, f"The front: {len(points)} nets, hypervolume {volume:.4g} up to ({corner[0]:.3g}, {corner[1]:.3g})"
        )
    return path


def wiring(net: Any, inputs: Sequence[str], outputs: Sequence[str], name: str, path: Path) -> Path:
    """A `GrownNet`, `name` in its title: units from the inputs on the left to the outputs on the right;
    connections as wide as their weight, blue if it is positive."""
    weight, links = net.weight.detach().cpu().numpy(), net.links.cpu().numpy()
    kinds, nodes, n_in, n_out = net.kinds.tolist(), len(net.kinds), net.n_in, net.n_out
    outs = list(range(nodes - n_out, nodes))
    hidden = [j for j in range(n_in + 1, nodes - n_out) if links[:, j].any() or links[j].any()]
    depth = {i: 0 for i in range(n_in + 1)}  # noqa: C420  (filled below)
    for j in [*hidden, *outs]:
        depth[j] = 1 + max((depth[int(i)] for i in np.flatnonzero(links[:j, j]) if int(i) in depth), default=0)
    last = max(depth[j] for j in outs)
    for j in outs:
        depth[j] = last
    place: dict[int, tuple[float, float]] = {}
    for level in range(last + 1):
        row = [j for j in depth if depth[j] == level]
        for k, j in enumerate(row):
            sway = 0.12 * (level % 2) if 0 < level < last else 0.0  # so that no connection hides behind a unit
            place[j] = (level, 1 - sway - (k + 0.5) / len(row))
    most = max(float(np.abs(weight[links]).max(initial=0.0)), 1e-9)
    names = {i: inputs[i] if i < len(inputs) else f"x{i}" for i in range(n_in)} | {n_in: "1"}
    names |= {j: outputs[k] if k < len(outputs) else f"y{k}" for k, j in enumerate(outs)}
    high = min(max(0.32 * max(n_in + 1, n_out), 3.2), 9.0)
    with drawing(path, size=(6.4, high + 0.8)) as (figure, (panel,)):
        for i, j in np.argwhere(links):
            if int(i) in place and int(j) in place:
                (x1, y1), (x2, y2), w = place[int(i)], place[int(j)], float(weight[i, j])
                panel.plot(
                    (x1, x2),
                    (y1, y2),
                    color=BLUE if w > 0 else VERMILION,
                    alpha=0.75,
                    linewidth=0.4 + 2.6 * abs(w) / most,
                    zorder=1,
                )
        shown = set()
        for j, (x, y) in place.items():
            inner = j in hidden
            kind = KINDS[kinds[j]]
            label = kind if inner and kind not in shown else None
            shown.add(kind if inner else "")
            colour = KIND_COLOURS[kind] if inner else "white"
            panel.plot(x, y, "o", color=colour, markeredgecolor=INK, markersize=8, zorder=2, label=label)
            if not inner and len(names) <= MOST_NAMES:
                left = j <= n_in
                panel.annotate(
                    literal(names[j]),
                    (x, y),
                    xytext=(-9 if left else 9, 0),
                    textcoords="offset points",
                    ha="right" if left else "left",
                    va="center",
                    fontsize=8,
                )
        if hidden:
            panel.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, -0.02), fontsize=8, title="hidden units")
        panel.set_axis_off()
        panel.margins(x=0.22, y=0.1)
        used = int(links.sum())
        headline(figure, f"{name}: {len(hidden)} hidden units, {used} connections")
    return path


def painting(chain: Chain, data: DataSet, path: Path) -> Path:
    """The picture that was asked for, the one that a CPPN paints at its places, and at many more places between."""
    side = math.isqrt(len(data.test))
    fine = FINER * side

    def painted(at: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            out: np.ndarray = chain(torch.from_numpy(at))[:, 0].numpy()
        return out.reshape(math.isqrt(len(at)), -1)

    shown = {
        "Asked for": data.test.y.numpy().reshape(side, side),
        "Painted": painted(places(side)),
        f"Painted at {fine} x {fine} places": painted(places(fine)),
    }
    with drawing(path, columns=3, size=(8.4, 3.0)) as (figure, panels):
        for panel, (title, dark) in zip(panels, shown.items(), strict=True):
            panel.imshow(dark, cmap="Greys", vmin=0.0, vmax=1.0, interpolation="nearest")
            panel.set(title=title, xticks=[], yticks=[])
            panel.spines[:].set_visible(True)  # a picture may be white up to its edge
            panel.grid(False)
        headline(figure, "What the evolved net paints")
    return path
