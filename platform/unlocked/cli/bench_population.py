"""`unlocked bench population`: candidates per minute over several workers, against one."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from unlocked.cli.bench_zero import MOST_ROUNDS
from unlocked.cli.common import add_command, check_ranges, wide_console
from unlocked.cli.terminal import print_json


def add_population(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "population",
        population,
        "compare a population over several workers with the same one over one worker: candidates per minute",
        "examples:\n  unlocked bench population\n  unlocked bench population --workers 8 --population 64 --json\n\n"
        "Needs gymnasium: pip install 'unlocked[control]'.\n",
    )
    parser.add_argument("--workers", type=int, default=2, help="Ray workers (default: 2)")
    parser.add_argument("--population", type=int, default=32, help="candidates of a generation (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--generations", type=int, default=3, help="per round, of each (default: 3)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def population(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import population as bench
    from unlocked.bench.report import warning

    check_ranges(
        arguments, rounds=(1, MOST_ROUNDS), workers=(2, 1024), population=(2, 1_000_000), generations=(1, 1_000_000)
    )
    console = wide_console(120)

    def note(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False)

    result = bench.measure(arguments.workers, arguments.population, arguments.rounds, arguments.generations, note)
    for workers, rate in result.rates.items():
        note(
            f"{workers} worker{'s' * (workers > 1)}: {rate.median:,.0f} candidates per minute "
            f"({rate.least:,.0f} to {rate.most:,.0f})"
        )
    note(
        f"{result.workers} workers over one, within a round: {result.gain.median:.2f} "
        f"({result.gain.least:.2f} to {result.gain.most:.2f}); all losses equal"
    )
    if (others := warning(result.foreign)) is not None:
        note(others, "yellow")
    if arguments.json:
        print_json(asdict(result))
    return 0
