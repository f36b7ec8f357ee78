"""`unlocked bench`: what the platform costs, what decoupling gains, and whether its backprop is the ordinary one."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from unlocked.cli.bench_case import add_case, case_given
from unlocked.cli.bench_population import add_population
from unlocked.cli.bench_rows import add_rows
from unlocked.cli.bench_zero import MOST_ROUNDS, add_zero
from unlocked.cli.common import add_command, add_import, check_ranges, import_given, wide_console
from unlocked.cli.help_text import HelpFormatter
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError
from unlocked.schema.facts import MOST, MOST_THREADS, MOST_WORKERS


def add_bench(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure overhead, scaling and sweeps on this machine; compare backprop with plain PyTorch",
        formatter_class=HelpFormatter,
        description="Measure in pairs: everything that is compared runs in turn within a round.",
        epilog="examples:\n"
        "  unlocked bench overhead            cost per step over a plain PyTorch loop\n"
        "  unlocked bench scaling mlp         every scheme over two workers, against its ceiling\n"
        "  unlocked bench reference           test metrics of backprop, against plain PyTorch\n"
        "  unlocked bench sweep               trials per minute, against Ray Tune too\n"
        "  unlocked bench deepspeed           ZeRO 0 to 3, DDP and replicas: speed and memory per worker\n"
        "  unlocked bench data                rows in files against the same rows in memory\n"
        "  unlocked bench population          candidates over two workers against one\n",
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    _add_overhead(kinds)
    _add_reference(kinds)
    _add_scaling(kinds)
    _add_sweep(kinds)
    add_zero(kinds)
    add_rows(kinds)
    add_population(kinds)


def _add_overhead(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "overhead",
        overhead,
        "compare the training loop with a plain PyTorch loop",
        "examples:\n  unlocked bench overhead\n  unlocked bench overhead --rounds 15 --threads 2 --json\n",
    )
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="per round, of each (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument(
        "--compile", action="store_true", help="instead: blocks by torch.compile against the same loop without"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def overhead(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import overhead as bench
    from unlocked.bench.report import overhead_json, overhead_table, warning

    check_ranges(arguments, rounds=(1, MOST_ROUNDS), threads=(1, MOST_THREADS), seconds=(0.001, 3600))
    measure = bench.measure_compiled if arguments.compile else bench.measure
    costs = [measure(case, arguments.rounds, arguments.threads, arguments.seconds) for case in bench.CASES]
    foreign = [share for cost in costs for share in cost.foreign]
    _show(wide_console(160), [overhead_table(costs, arguments.compile)], warning(foreign))
    if arguments.json:
        print_json(overhead_json(costs, arguments.threads))
    return 0


def _add_reference(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "reference",
        reference,
        "compare test metrics of backprop with those of a plain PyTorch loop",
        "examples:\n"
        "  unlocked bench reference                              the presets of studies/matrix: half an hour\n"
        "  unlocked bench reference recurrent/text autoencoder/vae --seeds 0,1,2 --json\n"
        "  unlocked bench reference recurrent/gru --epochs 2 model.dropout=0.5\n\n"
        "exit code 1 if a test metric is more than 1 % (relative) from the plain loop's\n",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PRESET | key=value",
        help="presets (default: those of studies/matrix), and changes to their configurations",
    )
    parser.add_argument("--seeds", default="0", metavar="A,B", help="one run each (default: 0)")
    parser.add_argument("--epochs", type=int, help="instead of each preset's own")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def reference(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import reference as bench
    from unlocked.bench.report import reference_json, reference_table
    from unlocked.config.yaml12 import clipped

    import_given(arguments)
    check_ranges(arguments, epochs=(1, MOST), threads=(1, MOST_THREADS))
    given = _listed(arguments.seeds)
    if not given or not all(re.fullmatch(r"[0-9]{1,18}", seed) for seed in given):
        raise ConfigError(f"--seeds: {clipped(arguments.seeds)!r} is no list of seeds; expected such as 0,1,2")
    overrides = [word for word in arguments.words if "=" in word]
    if arguments.epochs:
        overrides.append(f"train.epochs={arguments.epochs}")
    presets = [word for word in arguments.words if "=" not in word] or bench.matrix_presets()
    console = wide_console(160)
    found = bench.compare(
        presets, overrides, [int(seed) for seed in given], arguments.threads, note=lambda text: _say(console, text)
    )
    _show(console, [reference_table(found)], None)
    if arguments.json:
        print_json(reference_json(found))
    return 0 if all(comparison.holds for comparison in found) else 1


def _add_scaling(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "scaling",
        scaling,
        "compare all schemes over K Ray workers, in turn within one run",
        "examples:\n"
        "  unlocked bench scaling\n"
        "  unlocked bench scaling cnn --rounds 7 --plot cnn.png\n"
        "  unlocked bench scaling mlp --variant scheme.sg.rank=16 --variant parallel.link=group\n"
        "  unlocked bench scaling mlp --schedules gpipe,interleaved parallel.microbatches=8 --modules 3\n"
        "  unlocked bench scaling mlp --simulate 64 --latency-us 5 --bandwidth-gb 25\n"
        "  unlocked bench scaling --config quickstart model.hidden='[512, 512, 512]' --json\n\n"
        "cases, with the time of a step in one thread:\n"
        "  mlp          784-1024x6-10, batch 256                     0.1 s\n"
        "  mlp-small    784-256x6-10, batch 64                       3 ms\n"
        "  mlp-tiny     64-64-64-10, batch 32: the engine itself     0.3 ms\n"
        "  cnn          VGG-11 at half width, 3x32x32, batch 32      0.06 s\n"
        "  cnn-flat     7 convolutions that never pool               0.1 s\n"
        "  resnet       ResNet-20, 3x32x32, batch 32                 0.08 s\n"
        "  transformer  4 encoder layers, width 256, 16 x 64 tokens  0.25 s\n",
    )
    add_case(parser)
    parser.add_argument("--modules", type=int, help="modules (default: the configuration's, at least 2)")
    parser.add_argument("--stages", dest="modules", type=int, help=argparse.SUPPRESS)  # its old name
    parser.add_argument(
        "--schemes",
        default="dni,cdni,dfa,unlock",
        metavar="A,B",
        help="decoupled schemes to measure; unlock: cdni with synthetic inputs (default: dni,cdni,dfa,unlock)",
    )
    parser.add_argument(
        "--schedules",
        default="gpipe,1f1b,zero_bubble",
        metavar="A,B",
        help="pipelines of backprop to measure, by torch or as deepspeed_1f1b (default: gpipe,1f1b,zero_bubble)",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'KEY=VALUE ...'",
        help="also measure the configured scheme with these settings; may be repeated",
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--steps", type=int, help="of each per round (default: those of 3 s, at least 40)")
    parser.add_argument("--plot", metavar="FILE", help="also draw it as PNG")
    parser.add_argument(
        "--simulate",
        type=int,
        metavar="K",
        help="start no workers: measure the blocks here and predict every schedule over K modules",
    )
    parser.add_argument(
        "--microbatches",
        type=int,
        metavar="M",
        help="with --simulate: parts of a minibatch in pipelined backprop (default: 4 K; no more than it has examples)",
    )
    parser.add_argument("--latency-us", type=float, help="with --simulate: of a message, instead of the measured one")
    parser.add_argument("--bandwidth-gb", type=float, help="with --simulate: GB/s of a link, instead of the measured")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def scaling(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import scaling as bench
    from unlocked.bench.report import scaling_json, scaling_plot, scaling_tables, warning

    import_given(arguments)
    check_ranges(arguments, rounds=(1, MOST_ROUNDS), steps=(1, MOST), modules=(2, MOST_WORKERS))
    load, overrides = case_given(arguments, "bench scaling")
    if arguments.modules:
        overrides += [f"parallel.modules={arguments.modules}", "parallel.partition=null"]
    if arguments.config and load(overrides).parallel.modules < 2:
        overrides += ["parallel.modules=2", "parallel.partition=null"]
    config = load(overrides)
    if arguments.simulate is not None:
        return simulate(arguments, config)
    for name in ("microbatches", "latency_us", "bandwidth_gb"):
        if getattr(arguments, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}: belongs to --simulate K")
    variants = {text: load([*overrides, *shlex.split(text)]) for text in arguments.variant}
    console = wide_console(160)
    result = bench.measure(
        config,
        arguments.rounds,
        arguments.steps,
        _listed(arguments.schemes),
        _listed(arguments.schedules),
        variants,
        arguments.imports,
        note=lambda text: _say(console, text),
    )
    _show(console, scaling_tables(result), warning(result.foreign))
    for name, reason in result.left_out.items():
        _say(console, f"{name} left out: {reason}")
    if arguments.plot:
        print(f"plot: {scaling_plot(result, Path(arguments.plot))}")
    if arguments.json:
        print_json(scaling_json(result))
    return 0


def simulate(arguments: argparse.Namespace, config: Any) -> int:
    from unlocked.bench.simulated.simulate_report import simulation_json, simulation_notes, simulation_table
    from unlocked.bench.what_if import what_if

    check_ranges(
        arguments, simulate=(2, MOST_WORKERS), microbatches=(1, MOST), latency_us=(0, MOST), bandwidth_gb=(1e-9, MOST)
    )
    latency, bandwidth = arguments.latency_us, arguments.bandwidth_gb
    console = wide_console(160)
    result = what_if(
        config,
        arguments.simulate,
        arguments.microbatches,
        arguments.steps or 1000,
        None if latency is None else 1e-6 * latency,
        None if bandwidth is None else 1e9 * bandwidth,
        arguments.imports,
        note=lambda text: _say(console, text),
    )
    for line in simulation_notes(result):
        console.print(line, highlight=False, soft_wrap=True)
    _show(console, [simulation_table(result)], None)
    for name, reason in result.simulation.left_out.items():
        _say(console, f"{name} left out: {reason}")
    if arguments.json:
        print_json(simulation_json(result))
    return 0


def _add_sweep(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "sweep",
        sweep,
        "trials per minute: one at a time, several at once, and under Ray Tune",
        "examples:\n  unlocked bench sweep\n  unlocked bench sweep --rounds 3 --trials 8 --concurrent 4 --json\n",
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default: 3)")
    parser.add_argument("--trials", type=int, default=24, help="of each per round (default: 24)")
    parser.add_argument("--concurrent", type=int, default=2, help="trials at once (default: 2)")
    parser.add_argument(
        "--overhead-trials", type=int, default=200, help="empty trials for the driver's own time (default: 200)"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def sweep(arguments: argparse.Namespace) -> int:
    from unlocked.bench.measured import sweeps
    from unlocked.bench.report import sweep_json, sweep_table

    check_ranges(
        arguments, rounds=(1, MOST_ROUNDS), trials=(2, MOST), concurrent=(2, MOST_WORKERS), overhead_trials=(2, MOST)
    )
    console = wide_console(160)
    result = sweeps.measure(
        arguments.rounds,
        arguments.trials,
        arguments.concurrent,
        arguments.overhead_trials,
        note=lambda text: _say(console, text),
    )
    _show(console, [sweep_table(result)], None)
    for name, reason in result.left_out.items():
        _say(console, f"{name} left out: {reason}")
    steady = result.steady
    console.print(
        f"without the start and the end of a call, {arguments.concurrent} at once over one: "
        f"{steady.median:.2f} [{steady.least:.2f}, {steady.most:.2f}]",
        highlight=False,
    )
    for sampler, seconds in result.overhead.items():
        console.print(
            f"driver per trial, {sampler}, {result.overhead_trials} trials: {1e3 * seconds:.1f} ms", highlight=False
        )
    if arguments.json:
        print_json(sweep_json(result))
    return 0


def _listed(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _show(console: Any, tables: list[Any], warning: str | None) -> None:
    for table in tables:
        console.print(table)
    if warning:
        _say(console, warning, style="yellow")


def _say(console: Any, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False)
