"""Figures of what goes on inside the layers of some models (registered as `pictured`): a memory over time, the load of
experts, the wiring of a net that grew and the picture that it paints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.data.sets.picture import FEATURES as PLACES
from unlocked.data.words.text import PAD
from unlocked.drawing.evolved import painting, wiring
from unlocked.drawing.style import INK, drawing, headline, literal
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

LEGIBLE = 40  # labels of positions
MOST_EXAMPLES = 5000


def pictures(chain: Chain, data: DataSet, folder: Path) -> list[Path]:
    """Those of the first test example, or of the whole test split, by what the blocks can tell."""
    drawn = []
    if any(hasattr(block, "chosen") for block in chain):
        batch = data.test.batch(torch.arange(min(len(data.test), MOST_EXAMPLES)))
        chosen = [each.float().numpy() for each in loads(chain, batch)]
        ids = not batch.y.is_floating_point() and batch.y.dim() == 1
        classes = batch.y.numpy() if ids else np.zeros(len(batch.y), int)
        names = data.class_names if ids else ["all"]
        drawn.append(experts(chosen, classes, names, int(chosen[0][0].sum()), folder / "experts.png"))
    grown: Any = next((block for block in chain if hasattr(block, "graph")), None)
    if grown is not None:
        own = grown.graph is grown  # its inputs and outputs are the data's; else places and weights of another net
        inputs = list(data.features or []) if own else ["x1", "y1", "x2", "y2"]
        outputs = list(data.class_names) if own else ["weight", "bias"]
        name = "The evolved net" if own else "The evolved net that paints the weights"
        drawn.append(wiring(grown.graph, inputs, outputs, name, folder / "wiring.png"))
        if own and inputs == PLACES:
            drawn.append(painting(chain, data, folder / "painting.png"))
    first = data.test.batch(torch.arange(1))
    assert first.x is not None
    machine: Any = next((block for block in chain if hasattr(block, "memory_over_time")), None)
    if machine is not None and machine == chain[0]:
        x = first.x
        labels = asked = None
        if data.symbols is not None and not x.is_floating_point():
            x = x[:, : int((x[0] != PAD).nonzero().max()) + 1]  # its rows may go on; a first window begins one
            labels = [data.symbols[i] for i in x[0].tolist()]
            due = (first.y[0] != PAD).nonzero()[:, 0] if first.y.dim() == 2 else torch.empty(0)
            asked = int(due[0]) if len(due) and due[0] > 0 else None
        with torch.no_grad():
            reading, writing, left = (each[0].float().numpy() for each in machine.memory_over_time(x))
        drawn.append(memory(reading, writing, left, labels, folder / "memory.png", asked))
    return drawn


def loads(chain: Chain, batch: Batch) -> list[Tensor]:
    """Of every layer of experts, which of them each example asks, `(batch, experts)` of zeros and ones."""
    found: list[Tensor] = []

    def after(i: int, h: Tensor) -> Tensor:
        block: Any = chain[i]
        if hasattr(block, "chosen"):
            found.append(block.chosen(h))
        return h

    assert batch.x is not None
    with torch.no_grad():
        chain(batch.x, batch, after)
    return found


def experts(chosen: Sequence[np.ndarray], classes: np.ndarray, names: Sequence[str], active: int, path: Path) -> Path:
    """A heat map per layer: the share of the examples of a class (row) that ask an expert (column); above each expert
    its share of all choices."""
    wide = max(0.42 * chosen[0].shape[1] + 1.6, 3.2)
    size = (wide * len(chosen) + 0.8, min(max(0.3 * len(names) + 1.8, 3.0), 9.0))
    with drawing(path, columns=len(chosen), size=size) as (figure, panels):
        for nth, (panel, asked) in enumerate(zip(panels, chosen, strict=True)):
            share = np.stack(
                [asked[classes == c].mean(0) if (classes == c).any() else 0 * asked[0] for c in range(len(names))]
            )
            image = panel.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
            load = asked.mean(0) / active
            panel.set_xticks(range(len(load)), [f"{e}\n{each:.0%}" for e, each in enumerate(load)], fontsize=7)
            panel.set_yticks(range(len(names)), list(map(literal, names)), fontsize=8)
            panel.grid(False)
            panel.tick_params(length=0)
            panel.set(
                xlabel="expert, and its share of all choices", title=f"Layer {nth + 1}" if len(chosen) > 1 else ""
            )
        panels[0].set_ylabel("class")
        figure.colorbar(
            image, ax=panels, fraction=0.04, pad=0.02, label="share of the class that asks it"
        ).outline.set_visible(False)
        headline(figure, f"Which {active} of {chosen[0].shape[1]} experts the test examples ask")
    return path


def memory(
    reading: np.ndarray,
    writing: np.ndarray,
    left: np.ndarray,
    labels: Sequence[str] | None,
    path: Path,
    asked: int | None = None,
) -> Path:
    """Where heads write and read at every position, `(positions, rows)` each, and the memory that is left,
    `(rows, columns)`: only rows that some head has looked at, in their order. `asked`: the first position with a
    target."""
    rows = np.flatnonzero(np.maximum(reading.max(0), writing.max(0)) > 0.05)
    rows = rows if len(rows) else np.arange(len(left))
    positions = len(reading)
    wide, high = min(max(0.08 * positions, 2.6), 4.6), min(max(0.12 * len(rows) + 1.7, 3.0), 9.0)
    with drawing(path, columns=3, size=(3 * wide + 1.2, high)) as (figure, panels):
        shown = ((writing.T[rows], "Written"), (reading.T[rows], "Read"))
        for panel, (weights, title) in zip(panels, shown, strict=False):
            image = panel.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
            panel.set(title=title, xlabel="position")
            if asked is not None:
                panel.axvline(asked - 0.5, color=INK, linestyle="--", linewidth=1.0)
            if labels is not None and positions <= LEGIBLE:
                panel.set_xticks(range(positions), list(map(literal, labels)), fontsize=7)
                panel.set_xlabel("token")
        greatest = max(float(np.abs(left).max()), 1e-12)
        last = panels[2].imshow(
            left[rows], cmap="RdBu_r", vmin=-greatest, vmax=greatest, aspect="auto", interpolation="nearest"
        )
        panels[2].set(title="Left in the memory", xlabel="column")
        step = max(1, len(rows) // 12)
        for panel in panels:
            panel.set_yticks(range(0, len(rows), step), [str(row) for row in rows[::step]], fontsize=8)
            panel.grid(False)
            panel.tick_params(length=0)
        panels[0].set_ylabel("row of the memory")
        figure.colorbar(
            image, ax=panels[:2], fraction=0.03, pad=0.01, label="attention of the heads"
        ).outline.set_visible(False)
        figure.colorbar(last, ax=panels[2], fraction=0.06, pad=0.02, label="number stored").outline.set_visible(False)
        due = "; answers are due from the dashed line on" if asked is not None else ""
        headline(figure, f"Where the heads write and read, first test example{due}")
    return path
