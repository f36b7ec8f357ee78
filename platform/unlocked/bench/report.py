"""The measurements as tables, as one JSON line, and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich import box
from rich.text import Text

from unlocked.bench.measured.measure import SPOILT, Spread, is_spoilt
from unlocked.bench.measured.overhead import Cost
from unlocked.bench.measured.reference import TOLERANCE, Comparison
from unlocked.bench.measured.scaling import REFERENCES, Scaling
from unlocked.bench.measured.sweeps import Throughput
from unlocked.rich_text import PlainTable

_FRAME: dict[str, Any] = {"box": box.SIMPLE, "padding": (0, 1, 0, 0), "title_justify": "left"}
SHORT = {"backprop_1_thread": "1 thread", "backprop_all_threads": "all threads"}


def overhead_table(costs: Sequence[Cost], compiled: bool = False) -> PlainTable:
    """`compiled`: against the same loop without `torch.compile`."""
    what = (
        "Training loop by torch.compile against the same without"
        if compiled
        else "Training loop against a plain PyTorch loop"
    )
    table = PlainTable(
        title=f"{what}, paired by rounds: median and least-most; a tick is one step of one module",
        **_FRAME,
    )
    for heading in ("", "steps/s", "plain\nsteps/s", "ratio", "us per tick\nadded", "foreign\nCPU"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for cost in costs:
        table.add_row(
            cost.name,
            f"{cost.rate.median:,.0f}",
            f"{cost.plain_rate.median:,.0f}",
            f"{cost.ratio.median:.3f}\n{cost.ratio.least:.3f}-{cost.ratio.most:.3f}",
            f"{cost.added.median:.0f}\n{cost.added.least:.0f} to {cost.added.most:.0f}",
            _foreign(cost.foreign),
        )
    return table


def overhead_json(costs: Sequence[Cost], threads: int) -> dict[str, Any]:
    return {
        "overhead": {
            cost.name: {
                "ratio": cost.ratio.median,
                "ratio_spread": _ends(cost.ratio),
                "us_per_tick": cost.added.median,
                "us_per_tick_spread": _ends(cost.added),
                "steps_per_second": cost.rate.median,
                "plain_steps_per_second": cost.plain_rate.median,
                "steps": cost.steps,
                "foreign_cpu": cost.foreign,
            }
            for cost in costs
        },
        "threads": threads,
    }


def reference_table(comparisons: Sequence[Comparison]) -> PlainTable:
    table = PlainTable(
        title="Test metrics under backprop, by the platform and by a loop of plain PyTorch: means over the seeds; "
        "difference: relative, the greatest over the seeds",
        **_FRAME,
    )
    for heading in ("preset", "metric", "seeds", "platform", "plain", "difference", ""):
        table.add_column(heading, justify="left" if heading in ("preset", "metric") else "right", overflow="fold")
    for comparison in comparisons:
        for i, name in enumerate(comparison.names):
            apart = comparison.difference(name)
            table.add_row(
                "" if i else comparison.preset,
                name,
                "" if i else str(len(comparison.seeds)),
                f"{fmean(comparison.platform[name]):.5g}",
                f"{fmean(comparison.plain[name]):.5g}",
                f"{apart:.2g}" if apart else "none",
                "" if apart <= TOLERANCE else Text("too much", "red"),
            )
    return table


def reference_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "reference": {
            c.preset: {
                "metric": c.metric,
                "seeds": c.seeds,
                "platform": c.platform,
                "plain": c.plain,
                "holds": c.holds,
                "difference": {name: c.difference(name) for name in c.names},
            }
            for c in comparisons
        },
        "tolerance": TOLERANCE,
    }


def scaling_tables(scaling: Scaling) -> list[PlainTable]:
    """What is gained, and where the time goes."""
    title = (
        f"{scaling.case}, {len(scaling.cut)} modules of {scaling.cut} blocks, {scaling.steps} steps a "
        f"round: steps/s, and ratios within a round, median and least-most"
    )
    gained = PlainTable(title=title, **_FRAME)
    for heading in ("", "steps/s", *(f"over\n{SHORT.get(name, name)}" for name in REFERENCES)):
        gained.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for name, r in scaling.results.items():
        ratios = (r.ratios.get(other) for other in REFERENCES)
        gained.add_row(
            _words(name),
            f"{r.rate.median:,.2f}",
            *(f"{x.median:.2f}\n{x.least:.2f}-{x.most:.2f}" if x else "" for x in ratios),
        )
    spent = PlainTable(
        title="per module and step: milliseconds of computing, thereof on synthetic gradients (SG), and of sending; "
        "share of the time spent waiting; memory of each worker",
        **_FRAME,
    )
    for heading in ("", "comput-\ning, ms", "SG\nms", "sending\nms", "waiting", "peak\nMB", "moved\nMB", "schedule"):
        spent.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for name, r in scaling.results.items():
        spent.add_row(
            _words(name),
            _milliseconds(r.computing),
            _milliseconds(r.sg) if any(r.sg) else "",
            _milliseconds(r.sending) if any(r.sending) else "",
            "\n".join(f"{share:.0%}" for share in r.waiting),
            "\n".join(f"{mb:.0f}" for mb in r.peak_rss_mb),
            f"{r.bytes_per_step / 1e6:.2f}",
            r.schedule.replace("_", " "),
        )
    return [gained, spent]


def _words(name: str) -> str:
    """Which a narrow column breaks between them."""
    return SHORT.get(name, name.replace("_", " "))


def _milliseconds(seconds: Sequence[float]) -> str:
    return "\n".join(f"{1e3 * s:.2f}" for s in seconds)


def scaling_json(scaling: Scaling) -> dict[str, Any]:
    results = scaling.results
    return {
        "case": scaling.case,
        "cut": scaling.cut,
        "steps": scaling.steps,
        "rounds": len(scaling.foreign),
        "ratios": {name: {other: x.median for other, x in r.ratios.items()} for name, r in results.items()},
        "spread": {name: {other: _ends(x) for other, x in r.ratios.items()} for name, r in results.items()},
        "steps_per_second": {name: r.rate.median for name, r in results.items()},
        "computing_seconds": {name: r.computing for name, r in results.items()},
        "sending_seconds": {name: r.sending for name, r in results.items()},
        "sg_seconds": {name: r.sg for name, r in results.items()},
        "wait_fraction": {name: r.waiting for name, r in results.items()},
        "bytes_per_step": {name: r.bytes_per_step for name, r in results.items()},
        "peak_rss_mb": {name: r.peak_rss_mb for name, r in results.items()},
        "schedule": {name: r.schedule for name, r in results.items()},
        "left_out": scaling.left_out,
        "foreign_cpu": scaling.foreign,
    }


def sweep_table(throughput: Throughput) -> PlainTable:
    many = next(name for name in throughput.rates if name not in throughput.ratios)
    table = PlainTable(title=f"{throughput.trials} trials a round, paired by rounds: median and least-most", **_FRAME)
    for heading in ("", "trials/min", f"{many.replace('_', ' ')} over it"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rate in throughput.rates.items():
        ratio = throughput.ratios.get(name)
        table.add_row(
            name.replace("_", " "),
            f"{rate.median:.1f}\n{rate.least:.1f}-{rate.most:.1f}",
            f"{ratio.median:.2f}\n{ratio.least:.2f}-{ratio.most:.2f}" if ratio else "",
        )
    return table


def sweep_json(throughput: Throughput) -> dict[str, Any]:
    return {
        "trials": throughput.trials,
        "trials_per_minute": {n: r.median for n, r in throughput.rates.items()},
        "ratios": {name: ratio.median for name, ratio in throughput.ratios.items()},
        "spread": {name: _ends(ratio) for name, ratio in throughput.ratios.items()},
        "steady": throughput.steady.median,
        "steady_spread": _ends(throughput.steady),
        "driver_seconds_per_trial": throughput.overhead,
        "overhead_trials": throughput.overhead_trials,
        "left_out": throughput.left_out,
    }


def scaling_plot(scaling: Scaling, path: Path) -> Path:
    """Steps per second over one thread, as bars from the median with a line from least to most."""
    from unlocked.colors import GREY, scheme_color
    from unlocked.drawing.style import INK, captioned, drawing, footnote, headline
    from unlocked.tracking.tags import cores, processor

    base = "backprop_1_thread"
    ratios = {name: r.ratios.get(base, Spread(1.0, 1.0, 1.0)) for name, r in scaling.results.items()}
    machine = f"{processor()}, {cores()} cores"
    line = f"blocks {scaling.cut}  ·  {scaling.steps} steps a round, {len(scaling.foreign)} rounds  ·  {machine}"
    with captioned(line), drawing(path, size=(7.6, 1.8 + 0.42 * len(ratios))) as (figure, (panel,)):
        for place, (name, ratio) in enumerate(ratios.items()):
            color = GREY if name in REFERENCES else scheme_color(name.partition("_")[0])
            panel.barh(place, ratio.median, height=0.62, color=color)
            panel.plot([ratio.least, ratio.most], [place, place], color=INK, linewidth=1.3)
            panel.text(ratio.most + 0.03, place, f"{ratio.median:.2f}", va="center", fontsize=9)
        panel.set_yticks(range(len(ratios)), [name.replace("_", " ") for name in ratios])
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
        panel.axvline(1.0, color=INK, linewidth=0.8)
        panel.set_xlim(0, 1.12 * max(ratio.most for ratio in ratios.values()))
        panel.set_xlabel("steps per second, over backprop in one thread")
        headline(figure, f"{scaling.case} over {len(scaling.cut)} modules")
        footnote(figure, f"bar: median of {len(scaling.foreign)} rounds; line: from the least to the most")
    return path


def _foreign(shares: Sequence[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{median(known):.0%}\nto {max(known):.0%}" if known else "unknown"


def warning(shares: Sequence[float | None]) -> str | None:
    """One line when others used the machine too much for the figures to be quoted."""
    spoilt = [share for share in shares if share is not None and is_spoilt(share)]
    if not spoilt:
        return None
    return (
        f"other programs took up to {max(spoilt):.0%} of the CPU ({len(spoilt)} of {len(shares)} rounds "
        f"above {SPOILT:.0%}): measure again on a quieter machine before quoting this"
    )


def _ends(spread: Spread) -> list[float]:
    return [spread.least, spread.most]
