"""`unlocked sweep`: a study of many runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.common import add_command, add_import, import_given

if TYPE_CHECKING:
    from rich.console import Console

    from unlocked.studies.driver import Progress

_SPACE = """\
the space, in the `sweep` group of a configuration:
  sweep:
    metric: test/accuracy
    space:
      scheme.name: [frozen, cdni, dfa]                      a key and its values
      scheme.lag: {choice: [1, 4], when: {scheme.name: [cdni, dfa]}}    only where the condition holds
      rates: {choice: [{scheme.sg.lr: 1e-3, optimizer.lr: 1e-3}, ...]}  keys that change together, under any name
      modules: {choice: {two: {parallel.stages: 2}, four: {parallel.stages: 4}}}    the same, with named choices
      seed: [0, 1, 2]
    plot: {x: scheme.lag, lines: [scheme.name]}             mean and spread over seeds; without x as bars
"""


def add_sweep(commands: Any) -> None:
    parser = add_command(
        commands, "sweep", sweep, "run a study: every combination of a space, resumable",
        "examples:\n"
        "  unlocked sweep studies/lag                            the same command again goes on\n"
        "  unlocked sweep studies/lag --dry-run                  check and list the trials, start nothing\n"
        "  unlocked sweep studies/lag sweep.space.seed=[0] name=lag-quick --plot lag.png\n"
        "  unlocked sweep quickstart name=rates sweep.space.optimizer.lr=[3e-4,1e-3,3e-3]\n"
        "  unlocked compare --trials --group-by scheme,lag       the trials among the other runs\n\n" + _SPACE)
    parser.add_argument("config", help="a preset's name (`unlocked list presets`) or a path ending in .yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--dry-run", action="store_true", help="check the whole space, print its trials and stop")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="put the study's plot there as well, as PNG")
    parser.add_argument("--retry-failed", action="store_true", help="run the trials again that failed")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--quiet", action="store_true", help="no line per trial")
    add_import(parser)


def sweep(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from unlocked.config import load_config
    from unlocked.errors import RunFailed
    from unlocked.studies import sweep as run
    from unlocked.studies.report import metrics_of
    from unlocked.tracking import render

    import_given(arguments)
    config = load_config(arguments.config, arguments.overrides)
    if arguments.dry_run:
        return _dry_run(config)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:  # a file or a pipe has no width to fit into
        console.width = 200
    summary = run(config, imports=arguments.imports, plot=arguments.plot, retry_failed=arguments.retry_failed,
                  watcher=Lines(Console(quiet=arguments.quiet, highlight=False, soft_wrap=True)),
                  started=arguments.started)
    if not summary["complete"]:
        raise RunFailed(f"sweep: all {summary['trials']} trials failed; their tracebacks are in "
                        f"{summary['study_dir']}/failures")
    console.print(render(summary["rows"], metrics_of(config)))
    if failed := summary["failed"]:
        console.print(f"{len(failed)} of {summary['trials']} trials failed (tracebacks in {summary['study_dir']}"
                      f"/failures; --retry-failed runs them again)", style="yellow")
    for name in ("table", "plot"):
        console.print(f"{name}: {summary[name]}")
    console.print(f"all runs: unlocked compare --trials --experiment {config.tracking.experiment}    dashboard: "
                  f"unlocked ui", style="dim")
    if arguments.json:
        print(json.dumps(summary | {"rows": [asdict(row) for row in summary["rows"]]}))
    return 0


class Lines:
    """A line per trial: what it was, its value, the best mean so far, the time left."""

    def __init__(self, console: Console):
        self.console = console

    def started(self, folder: Path, done: int, total: int) -> None:
        before = f", {done} of them done before" if done else ""
        self.console.print(f"[bold]{folder.name}[/]: {total} trials{before}\n  {folder}")

    def finished(self, progress: Progress) -> None:
        failed = progress.value is None
        result = f"failed: {progress.failure}" if failed else f"{progress.value:.4f}"
        best = ""
        if progress.best is not None:
            seeds = len(progress.best.seeds)
            best = f"  best {progress.best_mean:.4f} {progress.best.label}" + (f" ({seeds} seeds)" if seeds > 1 else "")
        width = len(str(progress.total))
        line = (f"  {progress.done:>{width}}/{progress.total}  {progress.trial}  {result}  {progress.seconds:.1f} s"
                f"{best}  left {_duration(progress.left)}")
        self.console.print(line, style="yellow" if failed else None, markup=False)  # values and messages hold brackets

    def note(self, text: str) -> None:
        self.console.print(f"  {text}", style="yellow", markup=False)


def _dry_run(config: Any) -> int:
    from unlocked.studies.check import check_study
    from unlocked.studies.space import Space, name_of

    space = Space(config)
    points = space.grid()
    check_study(config, space, points)
    for point in points:
        print(f"  {name_of(point)}")
    print(f"{len(points)} trials, each of {config.train.epochs} epochs unless its choices say otherwise")
    return 0


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
