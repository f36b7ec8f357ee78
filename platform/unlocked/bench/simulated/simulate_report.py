"""What a simulation predicts: its assumptions in words, a table, and the JSON line."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich import box

from unlocked.bench.report import SHORT
from unlocked.bench.simulated.simulate import ONE
from unlocked.bench.what_if import WhatIf
from unlocked.rich_text import PlainTable


def simulation_notes(result: WhatIf) -> list[str]:
    """What the figures stand on, one line each."""
    units, link = result.modules, result.link
    made = (
        f"balanced: each {result.cut[0]} x the median block"
        if result.balanced
        else f"the measured blocks, cut {result.cut}"
    )
    m, k = result.microbatches, len(units)
    slowed = (
        f"x{result.contention:.2f} where all compute at once (measured)"
        if result.contention != 1
        else "none, every module has a core of its own"
    )
    return [
        f"{result.case}, simulated: {k} modules, {made}",
        f"a module: {1e3 * np.mean(units.forward):.3g} ms forward, {1e3 * np.mean(units.backward):.3g} ms backward, "
        f"{1e3 * np.mean(units.update):.3g} ms update; cdni adds {units.sg_share:.1%}",
        f"a message: {1e6 * link.latency:.3g} us latency, {1e6 * link.overhead:.3g} us of the sender and "
        f"{link.bandwidth / 1e9:.3g} GB/s; {np.mean(units.bytes_out[:-1]) / 1e6:.3g} MB over a boundary",
        f"pipelines: {m} microbatches of {units.batch / m:.3g} examples; gpipe's bubble is (K-1)/(M+K-1) = "
        f"{(k - 1) / (m + k - 1):.1%} where all is equal and messages take no time",
        f"contention: {slowed}",
    ]


def simulation_table(result: WhatIf) -> PlainTable:
    modules = len(result.modules)
    table = PlainTable(
        title=f"Predicted over {modules} modules: steady, and the first {result.steps:,} steps with filling",
        box=box.SIMPLE,
    )
    for heading in ("", "steps/s", "speed-up", f"of {modules}", "waiting:\nmean", "\nmost", "speed-up\nfilling"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    one = result.simulation.predictions[ONE].rate
    for name, p in result.simulation.predictions.items():
        table.add_row(
            SHORT.get(name, name).replace("_", " "),
            f"{p.rate:,.3g}" if p.rate < 1000 else f"{p.rate:,.0f}",
            f"{p.speedup:.2f}",
            f"{p.speedup / modules:.1%}",
            f"{abs(p.waiting.mean()):.1%}",
            f"{abs(p.waiting.max()):.1%}",
            f"{p.run_rate / one:.2f}",
        )
    return table


def simulation_json(result: WhatIf) -> dict[str, Any]:
    units, link, found = result.modules, result.link, result.simulation.predictions
    return {
        "simulated": {
            "case": result.case,
            "modules": len(units),
            "blocks_per_module": result.cut,
            "costs": "balanced: copies of the median block" if result.balanced else "measured blocks",
            "microbatches": result.microbatches,
            "contention": result.contention,
            "sg_share": units.sg_share,
            "link": {
                "latency_us": 1e6 * link.latency,
                "sender_us": 1e6 * link.overhead,
                "bandwidth_gb": link.bandwidth / 1e9,
            },
            "seconds": {
                name: float(np.mean(getattr(units, name)))
                for name in ("forward", "backward_input", "backward_weight", "update", "cdni_predict", "cdni_learn")
            },
            "steps_per_second": {name: p.rate for name, p in found.items()},
            "speedup": {name: p.speedup for name, p in found.items()},
            "wait_fraction": {name: [round(abs(float(w)), 4) for w in p.waiting] for name, p in found.items()},
            "run": {"steps": result.steps, "steps_per_second": {name: p.run_rate for name, p in found.items()}},
            "left_out": result.simulation.left_out,
        }
    }
