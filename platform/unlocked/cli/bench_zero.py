"""`unlocked bench deepspeed`: ZeRO 0 to 3 beside DistributedDataParallel and our own replicas."""

from __future__ import annotations

import argparse
from typing import Any

from unlocked.cli.bench_case import add_case, case_given
from unlocked.cli.common import add_command, add_import, check_ranges, import_given, wide_console
from unlocked.cli.terminal import print_json
from unlocked.schema.facts import MOST

MOST_ROUNDS = 10_000


def add_zero(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "deepspeed",
        sharing,
        "compare ZeRO 0 to 3, DistributedDataParallel and replicas: speed, and memory per worker",
        "examples:\n"
        "  unlocked bench deepspeed\n"
        "  unlocked bench deepspeed transformer --rounds 7 --json\n"
        "  unlocked bench deepspeed mlp parallel.deepspeed.zero_optimization.overlap_comm=true\n"
        "  unlocked bench deepspeed --config quickstart model.hidden='[512, 512]' optimizer.name=sgd\n\n"
        "cases: those of `unlocked bench scaling`, as one module; two processes hold all of it.\n",
    )
    add_case(parser)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--steps", type=int, help="of each per round (default: those of 2 s, at least 10)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def sharing(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import zero as bench
    from unlocked.bench.report import warning
    from unlocked.bench.zero_report import sharing_json, sharing_table

    import_given(arguments)
    check_ranges(arguments, rounds=(1, MOST_ROUNDS), steps=(1, MOST))
    load, changes = case_given(arguments, "bench deepspeed")
    config = load(["parallel.engine=deepspeed", *changes])
    console = wide_console(160)

    def note(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False)

    result = bench.measure(config, arguments.rounds, arguments.steps, arguments.imports, note)
    console.print(sharing_table(result))
    if (others := warning(result.foreign)) is not None:
        note(others, "yellow")
    for name, reason in result.left_out.items():
        note(f"{name} left out: {reason}")
    if arguments.json:
        print_json(sharing_json(result))
    return 0
