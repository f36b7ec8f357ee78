"""The pictures of `unlocked check`: the gradient of every block, and the loss over the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unlocked.colors import BLUE, GREY, PALETTE, VERMILION
from unlocked.drawing.style import drawing

_COLOURS = (*PALETTE, GREY)


def gradients_by_block(found: Mapping[str, Sequence[float]], path: Path) -> Path:
    """A line for each variant, over the blocks from the input up; the axis is logarithmic."""
    with drawing(path, columns=1) as (_, (panel, *_)):
        for (label, values), colour in zip(found.items(), _COLOURS * len(found), strict=False):
            panel.plot(range(len(values)), values, "o-", color=colour, markersize=3.5, label=_in_lines(label))
        panel.set_yscale("log")
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel("block, from the input up")
        panel.set_ylabel("root mean square of dL/dW")
        panel.set_title("gradient by block, before training")
        panel.legend()
    return path


def _in_lines(label: str) -> str:
    """Of the configured net, which says all that the variants change."""
    return label.replace(": ", ":\n  ").replace(", ", "\n  ")


def range_test(rates: Sequence[tuple[float, float]], suggestion: float | None, path: Path) -> Path:
    with drawing(path, columns=1) as (_, (panel, *_)):
        panel.plot([rate for rate, _ in rates], [loss for _, loss in rates], color=BLUE)
        if suggestion is not None:
            panel.axvline(suggestion, color=VERMILION, linewidth=1.2, label=f"{suggestion:.1e}: steepest")
            panel.legend()
        panel.set_xscale("log")
        panel.set_xlabel("optimizer.lr, growing from step to step")
        panel.set_ylabel("loss of the minibatch")
        panel.set_title("learning-rate range test")
    return path
