"""`unlocked train` and `unlocked evaluate`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.alive import IMPORTING, Alive
from unlocked.cli.common import add_command, add_import, as_begun, import_given, place_of
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError, DataError
from unlocked.security.names import without_controls

MOST_CLASSES = 40  # of a table

if TYPE_CHECKING:
    from unlocked.cli.progress import Display
    from unlocked.config import Config
    from unlocked.plan.plan import Plan


def add_train(commands: Any) -> None:
    parser = add_command(
        commands,
        "train",
        train,
        "train one run",
        "examples:\n"
        "  unlocked train quickstart\n"
        "  unlocked train quickstart scheme.name=dfa optimizer.lr=5e-4 seed=3\n"
        "  unlocked train my.yaml parallel.modules=4 --dry-run      show modules and places, start nothing\n"
        "  unlocked train my.yaml --import my_models               with models of your own\n"
        "  unlocked train --resume runs/quickstart-cdni-s0-20260101-120000\n"
        "  unlocked train --resume runs/quickstart-cdni-s0-20260101-120000 train.epochs=40      longer, as a new run\n"
        "  unlocked train --resume s3://bucket/runs/quickstart-cdni-s0-20260101-120000     on another machine\n\n"
        "configuration keys: `unlocked keys` names them all, `unlocked keys optimizer` explains those of a group\n",
        at_first="",
    )
    parser.add_argument("config", nargs="?", help="a preset's name (`unlocked list presets`) or a path ending in .yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes to the configuration: YAML 1.2 (010 is ten, yes a word), or for a key of type "
        "str the text as it stands",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run folder from its last checkpoint, or with its copy (tracking.mirror); "
        "with train.epochs=N for more epochs, as a new run that begins where this one ends",
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("--dry-run", action="store_true", help="print modules, memory and places and stop")
    parser.add_argument("--json", action="store_true", help="end with one JSON line: run id, metrics, steps/s, time")
    parser.add_argument("--quiet", action="store_true", help="no progress display")
    add_import(parser)


def train(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    if arguments.resume:
        return _resume(arguments)
    if not arguments.config:
        raise ConfigError("train: name a preset or a .yaml file, such as quickstart (unlocked list presets has all)")
    with Alive(arguments.quiet or arguments.print_config or arguments.dry_run) as alive:
        alive.say(IMPORTING)
        with as_begun(arguments, place_of(arguments)):
            return _train(arguments, alive)


def _train(arguments: argparse.Namespace, alive: Alive) -> int:
    from unlocked.cli.progress import Display
    from unlocked.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.print_config:
        return _print(config, arguments)
    if arguments.dry_run:
        return _dry_run(config, arguments)
    from unlocked.loop.train import train as run

    with Display(arguments.quiet, alive) as display:
        summary = run(config, imports=arguments.imports, reporter=display, started=arguments.started)
    return _end(arguments, summary, display)


def _resume(arguments: argparse.Namespace) -> int:
    with Alive(arguments.quiet or arguments.print_config or arguments.dry_run) as alive:
        alive.say(IMPORTING)
        return _resume_run(arguments, alive)


def _resume_run(arguments: argparse.Namespace, alive: Alive) -> int:
    from unlocked.cli.progress import Display
    from unlocked.loop.train import resume
    from unlocked.runs.longer import lengthen
    from unlocked.runs.mirror import fetch, is_address

    if arguments.config and "=" not in arguments.config:
        raise ConfigError(f"--resume takes its configuration from the run folder; leave out {arguments.config!r}")
    changes = [*filter(None, [arguments.config]), *arguments.overrides]
    looks = "--dry-run" if arguments.dry_run else "--print-config" if arguments.print_config else None
    if looks and is_address(arguments.resume):
        raise ConfigError(f"{looks}: looks at a run folder of this machine; {arguments.resume} would be fetched to one")
    folder = fetch(arguments.resume, Path("runs")) if is_address(arguments.resume) else Path(arguments.resume)
    folder = folder.absolute()
    if looks:
        return _look(arguments, folder, changes)
    with as_begun(arguments, folder):
        with Display(arguments.quiet, alive) as display:
            begun = folder
            if changes:
                folder, note = lengthen(folder, changes, arguments.imports)
                if note:
                    display.note(note)
            try:
                summary = resume(folder, imports=arguments.imports, reporter=display, started=arguments.started)
            except (ConfigError, DataError):
                if folder != begun:  # made for a run that cannot start
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            if summary["steps_per_second"] is None:  # no step was left
                display.note(_had_finished(folder, summary))
        return _end(arguments, summary, display)


def _had_finished(folder: Path, summary: Mapping[str, Any]) -> str:
    from unlocked.runs.folder import read_config

    epochs, why = summary["epochs"], summary["stopped"] or "train.patience"
    if epochs < read_config(folder)["train"]["epochs"]:
        return f"it had stopped early ({why}) after {epochs} epochs: tested again, nothing was trained"
    return (
        f"it had finished its {epochs} epochs: tested again, nothing was trained; with a higher train.epochs=N "
        "beside --resume a new run goes on from it"
    )


def _look(arguments: argparse.Namespace, folder: Path, changes: Sequence[str]) -> int:
    """What --resume would go on with, or the longer run that it would make; nothing is trained, held or written."""
    from unlocked.config import from_tree
    from unlocked.plan.make import make_plan
    from unlocked.plan.plan import load_data
    from unlocked.runs.fit import refuse_misfit
    from unlocked.runs.folder import read_config
    from unlocked.runs.longer import lengthened_config

    with as_begun(arguments, folder):
        config = lengthened_config(folder, changes) if changes else from_tree(read_config(folder))
        if arguments.print_config:
            return _print(config, arguments)
        plan = make_plan(config, load_data(config))
        refuse_misfit(folder, plan)
        return _show(plan, arguments)


def _end(arguments: argparse.Namespace, summary: dict[str, Any], display: Display) -> int:
    from unlocked.cli.ending import how_to_get_the_control, print_summary

    control = how_to_get_the_control(arguments, display.blocks)
    print_summary(summary, display.tracking, display.curves(), display.monitor, control)
    if arguments.json:
        print_json(summary)
    return 0


def _print(config: Config, arguments: argparse.Namespace) -> int:
    from unlocked.config import to_dict, to_yaml

    if arguments.json:
        print_json(to_dict(config))
    else:
        print(to_yaml(config), end="")
    return 0


def _dry_run(config: Config, arguments: argparse.Namespace) -> int:
    from unlocked.loop.transfer import plan_run
    from unlocked.plan.plan import load_data

    return _show(plan_run(config, load_data(config)), arguments)


def _show(plan: Plan, arguments: argparse.Namespace) -> int:
    from unlocked.plan.describe import describe
    from unlocked.plan.ties import why_not
    from unlocked.rich_text import PlainTable, plain_console

    config, replicas = plan.config, plan.config.parallel.replicas
    title = (
        f"{config.model['name']} under {config.scheme.name}: {plan.modules} "
        f"module{'s' * (plan.modules > 1)} x "
        f"{replicas} replica{'s' * (replicas > 1)}, {plan.schedule}"
    )
    table = PlainTable()
    rows = describe(plan)
    if arguments.json:
        print_json({"modules": rows, "train": plan.n_train, "steps": plan.total_steps, "schedule": str(plan.schedule)})
    beside = list(dict.fromkeys(name for row in rows for name in row["beside"]))  # models of the scheme's own
    headings = [f"{name} params" for name in beside]
    for heading in ("module", "blocks", "params", *headings, "cost", "memory", "sends", "place"):
        table.add_column(heading, justify="right")
    for row in rows:
        ranks = [row["worker"] * replicas + r for r in range(replicas)]
        place = "here" if not plan.make_engine().on_workers else f"worker {', '.join(map(str, ranks))}"
        table.add_row(
            str(row["module"]) if row["net"] is None else f"{row['net']} {row['module']}",
            row["blocks"],
            f"{row['parameters']:,}",
            *(f"{row['beside'].get(name, 0):,}" for name in beside),
            f"{row['cost_share']:.0%}",
            f"{row['memory_bytes'] / 2**20:.1f} MiB",
            "x".join(map(str, row["out_shape"])),
            place,
        )
    console = plain_console()
    console.print(title)
    console.print(table)
    if plan.ties and not plan.nets:
        console.print(why_not(plan.ties, len(plan.costs)))
    console.print(
        f"{plan.n_train:,} training examples, {plan.steps_per_epoch} steps per epoch, {plan.total_steps:,} "
        f"steps; memory counts weights, gradients, optimiser state and kept boundaries, without activations"
    )
    return 0


def add_evaluate(commands: Any) -> None:
    parser = add_command(
        commands,
        "evaluate",
        evaluate,
        "evaluate a run's weights as a plain network",
        "examples:\n"
        "  unlocked evaluate runs/quickstart-cdni-s0-20260101-120000\n"
        "  unlocked evaluate runs/quickstart-cdni-s0-20260101-120000 --split validation --weights last --json\n"
        "  unlocked evaluate runs/letters-cdni-s0-20260101-120000 --data more_letters.csv --target letter\n\n"
        "--data reads another file of the kind that was trained on, its inputs and its targets; the data set is not\n"
        "needed. Metrics are in the targets' own units; of classes, each has its precision, recall and F1.\n",
    )
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--split", choices=["train", "validation", "test"], help="test is the default")
    parser.add_argument("--data", metavar="FILE", help="another file of the same kind, in place of a split")
    parser.add_argument("--target", metavar="COLUMN", help="of that file, if it is not the one that was trained on")
    parser.add_argument(
        "--weights",
        choices=["best", "last"],
        default="best",
        help="best: of the best validation metric, the last if there was no validation split",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def evaluate(arguments: argparse.Namespace) -> int:
    from unlocked.runs.evaluate import evaluate_run

    import_given(arguments)
    if arguments.data is not None and arguments.split is not None:
        raise ConfigError(f"--data: {arguments.data} has no splits; leave out --split")
    if arguments.target is not None and arguments.data is None:
        raise ConfigError(f"--target: {arguments.target} is a column of --data FILE")
    run, file = Path(arguments.run).absolute(), Path(arguments.data or "").absolute()
    with as_begun(arguments, run):
        if arguments.data is None:
            result = evaluate_run(run, arguments.split or "test", arguments.weights)
        else:
            from unlocked.runs.evaluate_file import evaluate_file

            result = evaluate_file(run, file, arguments.weights, arguments.target)
    for note in result.get("notes", ()):
        print(without_controls(f"unlocked: note: {note}"), file=sys.stderr)
    for name, value in result["metrics"].items():
        print(f"{name:<24}{value:.4f}")
    _show_classes(result["classes"])
    if arguments.json:
        print_json(result)
    return 0


def _show_classes(classes: Sequence[dict[str, Any]]) -> None:
    """A row for each; of very many classes the worst."""
    from unlocked.rich_text import PlainTable, plain_console

    if not classes:
        return
    worst = sorted(classes, key=lambda row: row["f1"])[:MOST_CLASSES] if len(classes) > MOST_CLASSES else classes
    table = PlainTable("class", "precision", "recall", "f1", "examples")
    for row in worst:
        numbers = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        table.add_row(row["class"], *numbers, f"{row['examples']:,}")
    console = plain_console()
    console.print(table)
    if len(worst) < len(classes):
        console.print(f"the {len(worst)} worst of {len(classes)} classes: --json has all")
