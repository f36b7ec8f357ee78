"""`unlocked sweep`: a study of many runs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.alive import IMPORTING, Alive
from unlocked.cli.common import (
    DRAWN,
    add_command,
    add_import,
    as_begun,
    check_file,
    import_given,
    place_of,
    wide_console,
)
from unlocked.cli.next_steps import command, looking
from unlocked.cli.terminal import print_json
from unlocked.tracking.views import TRIALS

if TYPE_CHECKING:
    from rich.console import Console

    from unlocked.config import Config
    from unlocked.studies.status import Status

SHOWN = 10  # rows of a search's table
_SPACE = """\
the study, in the `sweep` group of a configuration:
  sweep:
    sampler: tpe            grid (the default), random, tpe, gp, cmaes, qmc, a class of optuna.samplers,
                            or one with arguments: {name: tpe, n_startup_trials: 20}
    trials: 40              or hours: 2, or both; a grid holds every combination
    pruner: asha            hyperband, median, percentile, patient, a class of optuna.pruners; needs a val/ metric
    concurrent: 2           trials at once, on Ray; resources: {cpu: 1, gpu: 0.5} of each
    metric: val/accuracy    or several: [val/accuracy, time/steps_per_second]
    constraints: {time/steps_per_second: {min: 100}}
    repeats: 3              seeds per trial, of which the mean counts
    enqueue: [{optimizer.lr: 1e-3}]                                   points to begin a search with
    space:
      optimizer.lr: {low: 1e-5, high: 1e-1, log: true}                numbers; whole ones: {low: 1, high: 8}
      scheme.name: [frozen, cdni, dfa]                                a key and its values
      scheme.lag: {choice: [1, 4], when: {scheme.name: [cdni, dfa]}}  only if the condition holds
      rates: {choice: [{scheme.sg.lr: 1e-3, optimizer.lr: 1e-3}, ...]}  keys that change together, under any name
      modules: {choice: {two: {parallel.modules: 2}, four: {parallel.modules: 4}}}    the same, with named choices
      seed: [0, 1, 2]                                                 of a grid
    plot: {x: scheme.lag, lines: [scheme.name]}   of a grid: mean and spread over seeds; without x as bars
"""


def add_sweep(commands: Any) -> None:
    parser = add_command(
        commands,
        "sweep",
        sweep,
        "run a study: a grid or a search over a space of configurations, resumable",
        "examples:\n"
        "  unlocked sweep studies/lag                            the same command again goes on\n"
        "  unlocked sweep studies/lag --dry-run                  check and list the trials, start nothing\n"
        "  unlocked sweep studies/lag sweep.space.seed=[0] name=lag-quick --plot lag.png\n"
        "  unlocked sweep quickstart name=rates sweep.space.optimizer.lr=[3e-4,1e-3,3e-3]\n"
        "  unlocked sweep quickstart name=search sweep.sampler=tpe sweep.trials=40 sweep.concurrent=2 \\\n"
        "      sweep.space.optimizer.lr='{low: 1e-4, high: 0.1, log: true}'\n"
        "  unlocked sweep --status search                        how it stands, from another terminal too\n"
        "  unlocked sweep --compare tpe-0 tpe-1 random-0 random-1 --plot curves.png\n"
        "  unlocked train runs/search/best.yaml                  the best trial again\n"
        "  unlocked compare --trials --group-by scheme,lag       the trials among the other runs\n\n" + _SPACE,
        at_first="",
    )
    parser.add_argument("config", nargs="?", help="a preset's name (`unlocked list presets`) or a path ending in .yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument("--dry-run", action="store_true", help="check the whole space, print its trials and stop")
    parser.add_argument("--resume", action="store_true", help="only go on with a study that exists")
    parser.add_argument("--status", metavar="NAME", help="show the study of this name (or folder) and stop")
    parser.add_argument(
        "--compare",
        metavar="NAME",
        nargs="+",
        help="compare searches that are done, by sampler and pruner over their seeds; with --plot: "
        "the best value so far against trials and against training steps",
    )
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where --status and --compare look for studies (default: runs)"
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="put the study's plot there as well, as PNG")
    parser.add_argument("--retry-failed", action="store_true", help="run the trials again that failed")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--quiet", action="store_true", help="no line per trial")
    add_import(parser)


def sweep(arguments: argparse.Namespace) -> int:
    from unlocked.errors import ConfigError

    check_file("--plot", arguments.plot, (".png",) if arguments.compare is None else DRAWN)
    import_given(arguments)
    console = wide_console(highlight=False, soft_wrap=True)
    if arguments.status is not None:
        return _status(arguments, console)
    if arguments.compare is not None:
        return _compare(arguments, console)
    if arguments.config is None:
        raise ConfigError("config: a preset's name or a path is needed (unlocked list presets); or --status NAME")
    arguments.plot = arguments.plot and arguments.plot.absolute()
    with Alive(arguments.quiet or arguments.dry_run) as alive:
        alive.say(IMPORTING)
        with as_begun(arguments, place_of(arguments)):
            return _sweep(arguments, console, alive)


def _sweep(arguments: argparse.Namespace, console: Console, alive: Alive) -> int:
    from unlocked.cli.sweep_display import Display
    from unlocked.config import load_config
    from unlocked.errors import ConfigError, RunFailed
    from unlocked.studies import sweep as run
    from unlocked.studies.driver import folder_of
    from unlocked.studies.study import known_study

    config = load_config(arguments.config, arguments.overrides)
    if arguments.dry_run:
        return _dry_run(config, arguments)
    if arguments.resume and not known_study(folder_of(config)):
        raise ConfigError(f"--resume: there is no study {folder_of(config)} to go on with")
    alive.say(f"checking every trial, loading data: {config.data.name}")
    with Display(config, arguments.quiet, alive) as display:
        summary = run(
            config,
            imports=arguments.imports,
            plot=arguments.plot,
            retry_failed=arguments.retry_failed,
            watcher=display,
            started=arguments.started,
        )
    if summary["trials"] and not summary["complete"] + summary["pruned"]:
        raise RunFailed(
            f"sweep: all {summary['trials']} trials failed; their tracebacks are in {summary['study_dir']}/failures"
        )
    if not summary["complete"]:
        console.print("no trial is complete", style="yellow")
    _show(console, config, summary)
    for name in ("table", "matrix", "trials_table", "plot", "best_config", "pareto_configs"):
        if name in summary:
            console.print(f"{name.replace('_', ' ')}: {Path(summary[name]).absolute()}")
    if "best_config" in summary:
        console.print(f"  again: {command('train', Path(summary['best_config']))}", style="dim")
    if look := looking(
        config.tracking, "--trials", "--name", config.name, folder=Path(summary["study_dir"]), view=TRIALS
    ):
        console.print(f"  {look}", style="dim")
    if arguments.json:
        print_json(summary | {"rows": [asdict(row) for row in summary["rows"]]})
    return 1 if summary.get("broken") else 0


def _show(console: Console, config: Config, summary: dict[str, Any]) -> None:
    """The table, the front of several metrics, and what failed."""
    from unlocked.cli.folds import over_folds
    from unlocked.cli.sweep_control import MORE, against_control
    from unlocked.comparing.fitting import fitted
    from unlocked.studies.report import metrics_of
    from unlocked.studies.search import is_grid

    rows = summary["rows"] if is_grid(config) else summary["rows"][:SHOWN]
    if rows:
        console.print(fitted(rows, metrics_of(config), console.width))
    if len(rows) < len(summary["rows"]):
        console.print(f"the best {len(rows)} of {len(summary['rows'])} complete trials", style="dim")
    for line in over_folds(summary["rows"], config.sweep.metrics()):
        console.print(line, style="bold")
    if beside := against_control(config, summary):
        console.print(beside, style="bold red" if MORE in beside else None)
    for entry in summary.get("pareto", []):
        values = "  ".join(
            f"{metric} {value:.4g}" for metric, value in zip(config.sweep.metrics(), entry["values"], strict=True)
        )
        console.print(f"Pareto front: trial {entry['trial']}: {values}")
    if promises := summary.get("promises"):
        broken = summary["broken"]
        console.print(
            f"{promises - len(broken)} of {promises} promises of the presets hold (expect)",
            style="red" if broken else "green",
        )
        for line in broken:
            console.print(f"  {line}", style="red")
    if summary["pruned"]:
        console.print(f"{summary['pruned']} of {summary['trials']} trials were ended early")
    if failed := summary["failed"]:
        console.print(
            f"{len(failed)} of {summary['trials']} trials failed (tracebacks in {summary['study_dir']}"
            f"/failures; --retry-failed runs them again)",
            style="yellow",
        )


def _status(arguments: argparse.Namespace, console: Console) -> int:
    """What the record says, whether somebody is at it or not; nothing is started or changed."""
    from unlocked.studies.status import find_study, status

    folder = find_study(arguments.status, Path(arguments.runs)).absolute()
    with as_begun(arguments, folder):
        return _show_status(status(str(folder)), arguments, console)


def _show_status(found: Status, arguments: argparse.Namespace, console: Console) -> int:
    from rich.text import Text

    from unlocked.cli.sweep_display import duration

    of = f" of {found.total}" if found.total is not None else ""
    summary = found.summary
    console.print(
        Text.assemble(
            (summary["study"], "bold"),
            f": {summary['trials']}{of} trials done: {summary['complete']} complete, "
            f"{summary['pruned']} pruned, {len(summary['failed'])} failed; {len(found.running)} running, "
            f"{found.waiting} waiting",
        )
    )
    for trial in found.running:
        at = f", epoch {trial.epoch}: {trial.value:.4f}" if trial.epoch is not None else ""
        console.print(f"  running for {duration(trial.seconds)}: trial {trial.number}  {trial.words}{at}")
    _show(console, found.config, summary)
    if found.held:
        console.print("a process works on it")
    elif found.running or found.waiting or (found.total or 0) > summary["trials"]:
        again = command("sweep", Path(summary["study_dir"]) / "study.yaml")
        console.print(f"no process works on it; go on with: {again}", style="yellow")
    if arguments.json:
        print_json(
            summary
            | {
                "rows": [asdict(row) for row in summary["rows"]],
                "waiting": found.waiting,
                "running": [asdict(trial) for trial in found.running],
                "total": found.total,
            }
        )
    return 0


def _compare(arguments: argparse.Namespace, console: Console) -> int:
    from unlocked.runs.needs import bring
    from unlocked.studies.curves import Search, draw, read, table
    from unlocked.studies.status import find_study

    for name in arguments.compare:
        bring(find_study(name, Path(arguments.runs)), arguments.imports)
    searches = [Search.of(read(name, Path(arguments.runs))) for name in arguments.compare]
    console.print(table(searches))
    if arguments.plot is not None:
        console.print(f"plot: {draw(searches, arguments.plot)}")
    if arguments.json:
        print_json([asdict(search) for search in searches])
    return 0


def _dry_run(config: Any, arguments: argparse.Namespace) -> int:
    from unlocked.studies.check import check_study
    from unlocked.studies.search import is_grid
    from unlocked.studies.space import Space, name_of

    space = Space(config)
    checked = check_study(config, space)
    if arguments.json:
        print_json({"trials": None if not is_grid(config) else checked.queued, "warnings": checked.warnings})
    for warning in checked.warnings:
        print(warning)
    epochs = f"each of {config.train.epochs} epochs unless its choices say otherwise"
    if not is_grid(config):
        for dimension in space.dimensions:
            print(f"  {dimension.words()}")
        many = f"{config.sweep.trials} trials" if config.sweep.trials else f"{config.sweep.hours:g} hours of trials"
        print(f"{many} by {config.sweep.sampler}, {epochs}")
        return 0
    for point in checked.queued:
        print(f"  {name_of(point)}")
    print(f"{len(checked.queued)} trials, {epochs}")
    return 0
