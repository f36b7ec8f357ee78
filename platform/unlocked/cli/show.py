"""`unlocked compare` and `unlocked ui`: what the tracked runs say."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlocked import strict_json
from unlocked.cli.common import add_command, store_address, wide_console
from unlocked.errors import ConfigError


def add_compare(commands: Any) -> None:
    parser = add_command(
        commands, "compare", compare, "compare finished runs: mean and spread over seeds, from MLflow",
        "examples:\n"
        "  unlocked compare\n"
        "  unlocked compare --group-by scheme,optimizer.lr --csv rates.csv\n"
        "  unlocked compare --experiment digits --plot digits.png\n"
        "  unlocked compare --experiment depth --against stages --plot depth.png\n")
    parser.add_argument("--experiment", metavar="NAME", help="only this MLflow experiment (default: all)")
    parser.add_argument("--group-by", default="model,scheme", metavar="A,B",
                        help="tags or configuration keys that make a group (default: model,scheme)")
    parser.add_argument("--name", action="append", help="only runs of this configuration name (repeatable)")
    parser.add_argument("--trials", action="store_true", help="also count the trials of `unlocked sweep`")
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    parser.add_argument("--plot", metavar="FILE", help="also draw it as PNG: bars, or lines with --against")
    parser.add_argument("--against", metavar="KEY", help="draw lines over this numeric key (stages, lag, ...)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    _add_store(parser)


def compare(arguments: argparse.Namespace) -> int:
    from unlocked.tracking import compare as collect
    from unlocked.tracking import render, to_csv
    from unlocked.tracking.comparisons import comparison, comparison_against

    _send_leftovers(arguments)
    group_by = arguments.group_by.split(",")
    if arguments.against and arguments.against not in group_by:
        group_by.append(arguments.against)
    rows = collect(arguments.uri or arguments.runs, arguments.experiment, group_by, arguments.name,
                   trials=arguments.trials)
    if not rows:
        raise ConfigError("compare: no finished run matches")
    wide_console().print(render(rows))
    if arguments.csv:
        print(f"table: {to_csv(rows, Path(arguments.csv))}")
    if arguments.plot:
        path = Path(arguments.plot)
        drawn = comparison_against(rows, arguments.against, path) if arguments.against else comparison(rows, path)
        print(f"plot: {drawn}" if drawn else "plot: no run has the metric")
    if arguments.json:
        print(strict_json.dumps([asdict(row) for row in rows]))
    return 0


def add_ui(commands: Any) -> None:
    parser = add_command(commands, "ui", ui, "open the MLflow dashboard, on this machine's loopback",
                         "examples:\n  unlocked ui\n  unlocked ui --port 5001\n"
                         "  unlocked ui --host 0.0.0.0 --allow-host head.example     others too, behind a login\n")
    parser.add_argument("--host", default="127.0.0.1",
                        help="beyond loopback MLflow asks for a login (needs mlflow[auth])")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME",
                        help="a name by which browsers reach it (repeatable); others are refused")
    parser.add_argument("--port", type=int, default=5000)
    _add_store(parser)


def ui(arguments: argparse.Namespace) -> int:
    from unlocked.tracking import serve

    _send_leftovers(arguments)
    return serve(arguments.uri or arguments.runs, arguments.host, arguments.port, allowed_hosts=arguments.allow_host)


def _send_leftovers(arguments: argparse.Namespace) -> None:
    from unlocked.tracking import adopt, sync_leftovers

    for run in arguments.adopt:
        adopt(Path(run), arguments.uri, Path(arguments.runs))
    sync_leftovers(Path(arguments.runs), arguments.uri, wait=30.0)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", default="runs", help="the runs folder (default: runs)")
    parser.add_argument("--adopt", action="append", default=[], metavar="RUN",
                        help="send the records of a run folder that somebody else wrote to this store (repeatable)")
    parser.add_argument("--uri", type=store_address,
                        help="an MLflow tracking address, instead of the database in the runs folder")
