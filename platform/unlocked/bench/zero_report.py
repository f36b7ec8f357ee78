"""What `unlocked bench deepspeed` measured, as a table and as one JSON line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box

from unlocked.bench.measured.zero import REFERENCES, WORKERS, Sharing
from unlocked.rich_text import PlainTable

MEMORY = ("weights", "gradients", "states", "copies", "total")


def sharing_table(sharing: Sharing) -> PlainTable:
    table = PlainTable(
        title=f"{sharing.case} over {WORKERS} workers, {sharing.steps} steps a round: steps/s, ratios within a round "
        f"(median and\nleast-most), MiB of tensors per worker (states: of the optimiser; copies: of weights, which "
        f"ZeRO's\noptimiser moves; buffers of messages are not counted), and MiB that a worker sends per step",
        box=box.SIMPLE,
    )
    for heading in ("", "steps/s", *(f"over\n{name}" for name in REFERENCES), *MEMORY, "sent"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, r in sharing.results.items():
        ratios = (r.ratios.get(other) for other in REFERENCES)
        table.add_row(
            name,
            f"{r.rate.median:,.2f}",
            *(f"{x.median:.2f}\n{x.least:.2f}-{x.most:.2f}" if x else "" for x in ratios),
            *(_mib(getattr(r.held, category)) for category in MEMORY),
            _mib(r.held.sent),
        )
    return table


def _mib(count: float) -> str:
    return f"{count / 2**20:.2f}" if count else ""


def sharing_json(sharing: Sharing) -> dict[str, Any]:
    results = sharing.results
    return {
        "case": sharing.case,
        "steps": sharing.steps,
        "rounds": len(sharing.foreign),
        "steps_per_second": {name: r.rate.median for name, r in results.items()},
        "ratios": {name: {other: x.median for other, x in r.ratios.items()} for name, r in results.items()},
        "spread": {name: {other: [x.least, x.most] for other, x in r.ratios.items()} for name, r in results.items()},
        "bytes_per_worker": {name: {**asdict(r.held), "total": r.held.total} for name, r in results.items()},
        "left_out": sharing.left_out,
        "foreign_cpu": sharing.foreign,
    }
