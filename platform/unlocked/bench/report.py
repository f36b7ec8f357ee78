"""The measurements as tables, as one JSON line, and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from unlocked.bench.measure import Spread
from unlocked.bench.overhead import Cost
from unlocked.bench.scaling import REFERENCES, Scaling

SPOILT = 0.1  # foreign share of the CPU above which a round says more about the neighbours


def overhead_table(costs: Sequence[Cost]) -> Table:
    table = Table(title="Training loop against a plain PyTorch loop: median (least to most) over rounds")
    for heading in ("case", "steps/s", "plain steps/s", "ratio", "us per step added", "foreign CPU"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for cost in costs:
        table.add_row(cost.name, f"{cost.rate.median:,.0f}", f"{cost.plain_rate.median:,.0f}", cost.ratio.text(3),
                      cost.added.text(0), foreign_text(cost.foreign))
    return table


def overhead_json(costs: Sequence[Cost], threads: int) -> dict[str, Any]:
    return {"overhead": {cost.name: {
        "ratio": cost.ratio.median, "ratio_spread": _ends(cost.ratio),
        "us_per_step": cost.added.median, "us_per_step_spread": _ends(cost.added),
        "steps_per_second": cost.rate.median, "plain_steps_per_second": cost.plain_rate.median,
        "steps": cost.steps, "foreign_cpu": cost.foreign} for cost in costs}, "threads": threads}


def scaling_table(scaling: Scaling) -> Table:
    table = Table(title=f"{scaling.case}: blocks per module {scaling.cut}, {scaling.steps} steps a round; ratios are "
                        f"median (least to most) over rounds")
    headings = ["", "steps/s", *(f"/ {name}" for name in REFERENCES), "ms busy a step", "waiting", "MB a step",
                "peak MB"]
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for name, result in scaling.results.items():
        table.add_row(name, f"{result.rate.median:,.2f}",
                      *(result.ratios[other].text() if other in result.ratios else "" for other in REFERENCES),
                      ", ".join(f"{1e3 * busy:.1f}" for busy in result.busy),
                      ", ".join(f"{share:.0%}" for share in result.waiting),
                      f"{result.bytes_per_step / 1e6:.2f}", ", ".join(f"{mb:.0f}" for mb in result.peak_rss_mb))
    return table


def scaling_json(scaling: Scaling) -> dict[str, Any]:
    results = scaling.results
    return {
        "case": scaling.case, "cut": scaling.cut, "steps": scaling.steps, "rounds": len(scaling.foreign),
        "ratios": {name: {other: ratio.median for other, ratio in r.ratios.items()} for name, r in results.items()},
        "spread": {name: {other: _ends(ratio) for other, ratio in r.ratios.items()} for name, r in results.items()},
        "steps_per_second": {name: r.rate.median for name, r in results.items()},
        "busy_seconds": {name: r.busy for name, r in results.items()},
        "wait_fraction": {name: r.waiting for name, r in results.items()},
        "bytes_per_step": {name: r.bytes_per_step for name, r in results.items()},
        "peak_rss_mb": {name: r.peak_rss_mb for name, r in results.items()},
        "lag": {name: r.lag for name, r in results.items()},
        "left_out": scaling.left_out, "foreign_cpu": scaling.foreign,
    }


def scaling_plot(scaling: Scaling, path: Path) -> Path:
    """Steps per second over one thread, as bars from the median with a line from least to most."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from unlocked.tracking.figures import BLUE, GREY

    base = "backprop_1_thread"
    ratios = {name: r.ratios.get(base, Spread(1.0, 1.0, 1.0)) for name, r in scaling.results.items()}
    figure = Figure(figsize=(7.6, 1.4 + 0.42 * len(ratios)), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for place, (name, ratio) in enumerate(ratios.items()):
        panel.barh(place, ratio.median, height=0.62, color=GREY if name in REFERENCES else BLUE, alpha=0.85)
        panel.plot([ratio.least, ratio.most], [place, place], color="#222222", linewidth=1.3)
        panel.text(ratio.most + 0.03, place, f"{ratio.median:.2f}", va="center", fontsize=9)
    panel.set_yticks(range(len(ratios)), [name.replace("_", " ") for name in ratios])
    panel.invert_yaxis()
    panel.axvline(1.0, color="#333333", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlim(0, 1.12 * max(ratio.most for ratio in ratios.values()))
    panel.set_xlabel("steps per second, of backprop in one thread")
    panel.set_title(f"{scaling.case} over {len(scaling.cut)} modules: median, least and most of "
                    f"{len(scaling.foreign)} rounds", loc="left", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    return path


def foreign_text(shares: Sequence[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{Spread.of(known).median:.0%} (to {max(known):.0%})" if known else "unknown"


def warning(shares: Sequence[float | None]) -> str | None:
    """One line when others used the machine too much for the figures to be quoted."""
    spoilt = [share for share in shares if share is not None and share > SPOILT]
    if not spoilt:
        return None
    return (f"other programs took up to {max(spoilt):.0%} of the CPU ({len(spoilt)} of {len(shares)} rounds above "
            f"{SPOILT:.0%}): measure again on a quieter machine before quoting this")


def _ends(spread: Spread) -> list[float]:
    return [spread.least, spread.most]
