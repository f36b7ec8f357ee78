"""The words of the command line: commands in groups, and the nearest match of a word that is none."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from unlocked import __version__
from unlocked.cli import (
    bench,
    check,
    cluster,
    data,
    doctor,
    export,
    generate,
    insight,
    jobs,
    keys,
    lists,
    new,
    predict,
    report,
    run,
    show,
    sweep,
)
from unlocked.cli.common import add_command, add_import
from unlocked.cli.listing import folded
from unlocked.nearest import did_you_mean

GROUPS = {
    "train": ("data", "train", "sweep", "check"),
    "compare": ("compare", "report", "bench"),
    "look": ("ui", "evaluate", "predict", "generate", "inspect", "export"),
    "run on a cluster": ("cluster", "submit", "jobs", "queue", "logs", "stop"),
    "find your way, extend": ("list", "keys", "new", "help", "doctor"),
}
_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """Ends wrong usage in one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"unlocked: {message} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            hint = did_you_mean(str(value), known)
            is_command = isinstance(action, argparse._SubParsersAction)
            kind = "command" if is_command else " ".join([*action.option_strings[-1:], "word"])
            listed = "" if hint and is_command else f" (known: {', '.join(known)})"
            raise argparse.ArgumentError(None, f"unknown {kind} {value!r}{hint}{listed}")


class _Top(Parser):
    """Whose help has the commands in groups."""

    commands: Any = None

    def format_help(self) -> str:
        about = {action.dest: action.help or "" for action in self.commands._choices_actions}
        grouped = {name for names in GROUPS.values() for name in names}
        groups = GROUPS | {"more": tuple(name for name in about if name not in grouped)}
        intent = "\n".join(line.strip() for line in folded(self.description or "", _WIDTH, ""))
        text = f"usage: {self.prog} COMMAND ...\n\n{intent}\n"
        for title, names in groups.items():
            if here := [name for name in names if name in about]:
                text += f"\n{title}:\n" + "".join(_line(name, about[name]) for name in here)
        return f"{text}\n{self.epilog}"


def _line(name: str, about: str) -> str:
    first, *others = folded(about, _WIDTH - 14, "") or [""]
    return "".join([f"  {name:<12}{first}\n", *(f"{' ' * 14}{line.strip()}\n" for line in others)])


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(word.startswith("-") for word in rest)):
        options = arguments.parser._option_string_actions if hasattr(arguments, "parser") else {}
        wrong = next((word for word in rest if word.startswith("-")), rest[0])
        hint = did_you_mean(wrong.partition("=")[0], options)
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    if rest:  # overrides behind an option: argparse gives them back
        arguments.overrides += rest
    return arguments


def build_parser() -> argparse.ArgumentParser:
    parser = _Top(
        prog="unlocked",
        description="Train deep networks under backpropagation and decoupled schemes, and compare them fairly.",
        epilog="examples:\n"
        "  unlocked train quickstart                         one run\n"
        "  unlocked train quickstart scheme.name=dfa seed=1  another scheme and seed\n"
        "  unlocked sweep studies/lag                        a study: table and plot\n"
        "  unlocked compare                                  runs by model and scheme\n"
        "  unlocked report                                   a page with the answer\n"
        "  unlocked ui                                       the MLflow dashboard\n"
        "  unlocked cluster up --workers 2                   Ray on this machine\n"
        "  unlocked submit train quickstart --follow         one run as a job\n\n"
        "Your own models, data sets, losses, schemes ...: `unlocked new`, --import MODULE\n",
    )
    parser.add_argument("--version", action="version", version=f"unlocked {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    parser.commands = commands
    for add in (
        run.add_train,
        sweep.add_sweep,
        run.add_evaluate,
        predict.add_predict,
        export.add_export,
        generate.add_generate,
        insight.add_inspect,
        check.add_check,
        show.add_compare,
        report.add_report,
        data.add_data,
        lists.add_list,
        show.add_ui,
        bench.add_bench,
        doctor.add_doctor,
        cluster.add_cluster,
        jobs.add_submit,
        jobs.add_jobs,
        jobs.add_queue,
        jobs.add_logs,
        jobs.add_stop,
        keys.add_keys,
        new.add_new,
        _add_help,
    ):
        add(commands)
    return parser


def _add_help(commands: Any) -> None:
    parser = add_command(
        commands,
        "help",
        _help,
        "show the help of a command, or the configuration keys",
        "examples:\n  unlocked help\n  unlocked help sweep\n  unlocked help keys optimizer\n",
        at_first="",
    )
    parser.add_argument("words", nargs="*", metavar="COMMAND")
    add_import(parser)


def _help(arguments: argparse.Namespace) -> int:
    words = arguments.words
    parser = build_parser()
    if words[:1] != ["keys"]:
        words = [*words, "--help"]
    chosen = parse(parser, words)
    chosen.imports = arguments.imports
    out: int = chosen.command(chosen)
    return out
