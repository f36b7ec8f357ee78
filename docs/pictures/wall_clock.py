"""Draws accuracy against time, from the runs of `studies/wall_clock`: `python docs/pictures/wall_clock.py runs`.

A point is an evaluation: the mean validation accuracy over the seeds, with a band from the lowest to the highest. Its
time is its step, divided by the steps per second of that scheme over two Ray workers in the README's table of
`make demo`. Writes experiments/studies/wall_clock.png.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]
OUT = ROOT / "experiments" / "studies" / "wall_clock.png"
COLOURS = {"backprop": "#000000", "cdni": "#0072B2", "dni": "#CC79A7", "dfa": "#009E73", "frozen": "#8A8A8A"}
LIFT = {"cdni": 5, "dni": -11}  # points by which a label is moved from its curve's end, out of another's way
Curve = list[tuple[int, float]]  # step, validation accuracy in percent


def speeds(readme: str) -> dict[str, float]:
    """Steps per second by scheme, from the demo's table."""
    rows = re.findall(r"^│ mlp +│ (\w+)[^│]*│[^│]*│[^│]*│[^│]*│ +([\d,]+) \(1 seed\)", readme, re.M)
    return {scheme: float(speed.replace(",", "")) for scheme, speed in rows}


def read(run: Path) -> tuple[str, Curve]:
    """Scheme and curve of a run, from its spool."""
    records = [json.loads(line) for line in (run / "tracking" / "spool.jsonl").read_text().splitlines()]
    scheme = next(record["tags"]["scheme"] for record in records if record["t"] == "start")
    metrics = [record for record in records if record["t"] == "metrics" and "val/accuracy" in record["values"]]
    return scheme, [(record["step"], 100 * record["values"]["val/accuracy"]) for record in metrics]


def draw(folder: Path) -> None:
    rate = speeds((ROOT / "README.md").read_text())
    curves: dict[str, list[Curve]] = defaultdict(list)
    for run in sorted(folder.glob("wall_clock-*")):
        scheme, curve = read(run)
        curves[scheme].append(curve)
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for scheme, colour in COLOURS.items():
        seconds = [step / rate[scheme] for step, _ in curves[scheme][0]]
        points = [[accuracy for _, accuracy in point] for point in zip(*curves[scheme], strict=True)]
        means = [sum(point) / len(point) for point in points]
        style = "--" if scheme == "frozen" else "-"
        axes.plot(seconds, means, style, color=colour, linewidth=1.8)
        axes.fill_between(seconds, [min(p) for p in points], [max(p) for p in points], color=colour, alpha=0.12)
        axes.plot(seconds[-1], means[-1], "o", color=colour, markersize=4)
        name = "frozen (control)" if scheme == "frozen" else scheme
        axes.annotate(
            name, (seconds[-1], means[-1]), (6, LIFT.get(scheme, -3)), textcoords="offset points", color=colour
        )
        print(f"{scheme}: {len(points[-1])} seeds, {means[-1]:.1f} % after {seconds[-1]:.2f} s")
    axes.set(xlabel="seconds of training, two modules on two Ray workers", ylabel="validation accuracy, %")
    axes.set(xlim=(0, None), ylim=(40, 101))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E3E3E3")
    figure.savefig(OUT, dpi=130)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
