"""`unlocked bench data`: rows that stay in their files against the same rows in memory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unlocked.cli.bench_zero import MOST_ROUNDS
from unlocked.cli.common import add_command, check_ranges, wide_console
from unlocked.cli.terminal import print_json
from unlocked.schema.facts import MOST_THREADS


def add_rows(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "data",
        rows,
        "compare rows that stay in their files (memory: mapped) with the same rows in memory: speed and memory",
        "examples:\n"
        "  unlocked bench data\n"
        "  unlocked bench data --gigabytes 10 --folder /scratch --json\n"
        "  unlocked bench data --gigabytes 10 --cold           nothing of the files in the system's cache\n\n"
        "The set is made in the folder, and removed in the end.\n",
    )
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the set that is made (default: 1)")
    parser.add_argument("--in-memory", type=float, default=1.0, help="of its rows, gigabytes held too (default: 1)")
    parser.add_argument("--folder", type=Path, help="where the set is made (default: that of temporary files)")
    parser.add_argument("--cold", action="store_true", help="the system's cache gives up the files before every turn")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per round, of each (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def rows(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import rows as bench
    from unlocked.bench.report import warning
    from unlocked.bench.rows_report import rows_json, rows_lines, rows_table

    check_ranges(
        arguments,
        rounds=(1, MOST_ROUNDS),
        threads=(1, MOST_THREADS),
        seconds=(0.001, 3600),
        gigabytes=(0.001, 100_000),
        in_memory=(0.001, 100_000),
    )
    console = wide_console(160)

    def note(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False)

    result = bench.measure(
        round(arguments.gigabytes * 1e9),
        round(arguments.in_memory * 1e9),
        arguments.rounds,
        arguments.seconds,
        arguments.threads,
        folder=arguments.folder,
        cold=arguments.cold,
        note=note,
    )
    console.print(rows_table(result))
    for line in rows_lines(result):
        note(line)
    if (others := warning(result.foreign)) is not None:
        note(others, "yellow")
    if arguments.json:
        print_json(rows_json(result))
    return 0
