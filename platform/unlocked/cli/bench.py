"""`unlocked bench`: what the platform costs and what decoupling gains, on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, add_import, import_given
from unlocked.errors import ConfigError


def add_bench(commands: Any) -> None:
    parser = commands.add_parser(
        "bench", help="measure overhead and scaling on this machine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures in pairs: all that is compared runs in turn within a round.",
        epilog="examples:\n"
               "  unlocked bench overhead            cost per step over a plain PyTorch loop\n"
               "  unlocked bench scaling mlp         every scheme over two workers, against its ceiling\n")
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    _add_overhead(kinds)
    _add_scaling(kinds)


def _add_overhead(kinds: Any) -> None:
    parser = add_command(
        kinds, "overhead", overhead, "compare the training loop with a plain PyTorch loop",
        "examples:\n"
        "  unlocked bench overhead\n"
        "  unlocked bench overhead --rounds 15 --threads 2 --json\n")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="per round, of each (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def overhead(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from unlocked.bench import overhead as bench
    from unlocked.bench.report import overhead_json, overhead_table, warning

    _at_least(arguments, rounds=1, threads=1)
    costs = [bench.measure(case, arguments.rounds, arguments.threads, arguments.seconds)
             for case in bench.CASES]
    foreign = [share for cost in costs for share in cost.foreign]
    _show(Console(), [overhead_table(costs)], warning(foreign))
    if arguments.json:
        print(json.dumps(overhead_json(costs, arguments.threads)))
    return 0


def _add_scaling(kinds: Any) -> None:
    parser = add_command(
        kinds, "scaling", scaling, "compare all schemes over K Ray workers, in turn within one run",
        "examples:\n"
        "  unlocked bench scaling\n"
        "  unlocked bench scaling cnn --rounds 7 --plot cnn.png\n"
        "  unlocked bench scaling mlp scheme.sg.rank=16 --stages 3\n"
        "  unlocked bench scaling --config quickstart model.hidden='[512, 512, 512]' --json\n\n"
        "cases, with the time of a step in one thread:\n"
        "  mlp        784-1024x6-10, batch 256                  0.1 s\n"
        "  mlp-small  784-256x6-10, batch 64                    3 ms\n"
        "  cnn        VGG-11 at half width, 3x32x32, batch 32   0.06 s\n"
        "  cnn-flat   7 convolutions that never pool            0.1 s\n")
    parser.add_argument("words", nargs="*", metavar="CASE | key=value",
                        help="a case (default: mlp), and changes to its configuration")
    parser.add_argument("--config", metavar="NAME", help="a preset or a .yaml file instead of a case")
    parser.add_argument("--stages", type=int, help="modules (default: the configuration's, at least 2)")
    parser.add_argument("--schemes", default="dni,cdni,dfa", metavar="A,B",
                        help="decoupled schemes to measure (default: dni,cdni,dfa)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--steps", type=int, help="of each per round (default: those of 1.5 s)")
    parser.add_argument("--plot", metavar="FILE", help="also draw it as PNG")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def scaling(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from unlocked.bench import scaling as bench
    from unlocked.bench.report import scaling_json, scaling_plot, scaling_tables, warning
    from unlocked.config import load_config

    import_given(arguments)
    _at_least(arguments, rounds=1, steps=1, stages=2)
    overrides = [word for word in arguments.words if "=" in word]
    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1 or (names and arguments.config):
        raise ConfigError(f"bench scaling: one case or one --config at a time, not {' and '.join(names)}"
                          + (f" and {arguments.config}" if arguments.config else ""))
    if arguments.stages:
        overrides += [f"parallel.stages={arguments.stages}", "parallel.partition=null"]
    if arguments.config:
        config = load_config(arguments.config, overrides)
        if config.parallel.stages < 2:
            overrides += ["parallel.stages=2", "parallel.partition=null"]
            config = load_config(arguments.config, overrides)
    else:
        config = bench.load_case(names[0] if names else "mlp", overrides)
    console = Console()
    result = bench.measure(config, arguments.rounds, arguments.steps, schemes=arguments.schemes.split(","),
                           imports=arguments.imports, note=lambda text: console.print(text, highlight=False))
    _show(console, scaling_tables(result), warning(result.foreign))
    for name, reason in result.left_out.items():
        console.print(f"{name} left out: {reason}", highlight=False)
    if arguments.plot:
        print(f"plot: {scaling_plot(result, Path(arguments.plot))}")
    if arguments.json:
        print(json.dumps(scaling_json(result)))
    return 0


def _at_least(arguments: argparse.Namespace, **least: int) -> None:
    for name, low in least.items():
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise ConfigError(f"--{name}: {value} is out of range; expected at least {low}")


def _show(console: Any, tables: list[Any], warning: str | None) -> None:
    for table in tables:
        console.print(table)
    if warning:
        console.print(f"[yellow]{warning}[/]", highlight=False)
