"""How many random patterns a classic Hopfield network recalls: `python docs/families/hopfield_capacity.py`.

Patterns per unit, and their overlap with the states that they come to rest in, seeds 0 to 2; the load at which it
falls below 0.9: 0.138 for infinitely many units (Amit, Gutfreund and Sompolinsky 1985).
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from unlocked.drawing.style import drawing
from unlocked_models.associative import recalled, stored

LOADS = [0.08, 0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.20]
FALL = 0.9  # an overlap that no network above its capacity has


def overlap_at(load: float, units: int, seed: int) -> float:
    """Mean overlap x s / N of `load * units` random patterns with the states that they come to rest in; 1 if all are
    recalled as they are."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 2, (max(1, round(load * units)), units), generator=generator).float() * 2 - 1
    return float((recalled(stored(patterns), patterns, seed=seed) * patterns).mean())


def measured(units: int) -> np.ndarray:
    """Overlaps `(seeds, loads)`."""
    return np.array([[overlap_at(load, units, seed) for load in LOADS] for seed in range(3)])


def capacity(overlaps: np.ndarray) -> float:
    """The load at which the overlap falls below `FALL`, on a line between neighbours."""
    for (a, above), (b, below) in pairwise(zip(LOADS, overlaps, strict=True)):
        if above >= FALL > below:
            return float(a + (b - a) * (above - FALL) / (above - below))
    return float("nan")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sizes = [int(size) for size in sys.argv[1:]] or [250, 500, 1000]
    with drawing(Path(__file__).with_name("pictures") / "hopfield_capacity.png", size=(6.4, 4.0)) as (_, (panel,)):
        for units in sizes:
            overlaps = measured(units)
            found = [capacity(each) for each in overlaps]
            print(f"{units} units: {np.mean(found):.3f} {[round(each, 3) for each in found]}", flush=True)
            print("  ", dict(zip(LOADS, overlaps.mean(0).round(3).tolist(), strict=True)), flush=True)
            panel.plot(LOADS, overlaps.mean(0), marker="o", markersize=4, label=f"{units} units")
        panel.axvline(0.138, color="#222222", linewidth=1.0, linestyle="--", label="0.138, infinitely many units")
        panel.set(title="Patterns that a Hopfield network recalls", xlabel="patterns / units", ylabel="overlap")
        panel.legend()
