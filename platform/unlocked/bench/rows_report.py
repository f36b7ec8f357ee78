"""What `unlocked bench data` measured, as a table and as one JSON line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box

from unlocked.bench.measured.rows import Result
from unlocked.rich_text import PlainTable

NAMES = {"memory": "in memory", "mapped": "the same rows, mapped", "all": "all rows, mapped"}


def rows_table(result: Result) -> PlainTable:
    whole, held = f"{result.size / 1e9:.2f} GB", f"{result.held / 1e9:.2f} GB"
    table = PlainTable(
        title=f"{whole} of rows in files, {held} of them also in memory: steps/s, and\nof them and of processor time "
        "per step the ratio to memory within a round (median\nand least-most); what a step took from the disk",
        box=box.SIMPLE,
    )
    for heading in ("", "steps/s", "over\nmemory", "processor\nover memory", "MB from disk"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rate in result.rates.items():
        ratios = (result.ratios.get(name), result.cpu.get(name))
        table.add_row(
            NAMES[name],
            f"{rate.median:,.1f}",
            *(f"{x.median:.3f}\n{x.least:.3f}-{x.most:.3f}" if x else "" for x in ratios),
            f"{result.disk[name] / 1e6:.2f}",
        )
    return table


def rows_lines(result: Result) -> list[str]:
    memory = result.memory
    before, loaded, least, most, held = (
        f"{each / 1e6:,.0f} MB" for each in (memory.before, memory.loaded, memory.least, memory.most, memory.in_memory)
    )
    return [
        f"looked at once: {result.looked:.1f} s (range, statistics, digest; kept for the next run)",
        f"memory of the process: {before} before, {loaded} when all rows were looked at, {least} to {most} over "
        f"{memory.steps:,} steps on them; the rows in memory took {held} more",
    ]


def rows_json(result: Result) -> dict[str, Any]:
    return {
        "rows": result.rows,
        "bytes": result.size,
        "bytes_in_memory": result.held,
        "seconds_looked": result.looked,
        "steps_per_second": {name: rate.median for name, rate in result.rates.items()},
        "ratios": {name: ratio.median for name, ratio in result.ratios.items()},
        "spread": {name: [ratio.least, ratio.most] for name, ratio in result.ratios.items()},
        "processor": {name: [x.median, x.least, x.most] for name, x in result.cpu.items()},
        "bytes_from_disk_per_step": result.disk,
        "memory": asdict(result.memory),
        "foreign_cpu": result.foreign,
    }
