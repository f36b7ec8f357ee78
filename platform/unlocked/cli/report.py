"""`unlocked report`: finished runs as one page."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, check_file
from unlocked.cli.show import add_store, add_where, send_leftovers
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError

_ENDINGS = {"html": (".html",), "markdown": (".md",), "latex": (".tex",)}


def add_report(commands: Any) -> None:
    parser = add_command(
        commands,
        "report",
        report,
        "write a report of an experiment, a study or runs: the answer, tables, curves, how to repeat it",
        "examples:\n"
        "  unlocked report                                     the experiment of the latest run, as HTML\n"
        "  unlocked report lag                                 a study, by its name\n"
        "  unlocked report quickstart --where modules=2        runs of a preset\n"
        "  unlocked report quickstart-cdni-s0-20260101-120000  one run, by its folder\n"
        "  unlocked report --format latex --out paper/runs.tex\n\n"
        "The HTML is one file that opens offline. Markdown and LaTeX have their figures in a folder beside them. The\n"
        "report is also an artifact of the study, or of the best run. A row is a configuration over its seeds.\n",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="experiments, studies, presets, configuration names or run folders; with * and ? (default: the "
        "experiment of the latest run)",
    )
    parser.add_argument("--experiment", metavar="NAME", help="only this MLflow experiment")
    add_where(parser)
    parser.add_argument("--metric", metavar="METRIC", help="in place of the one that the task follows")
    parser.add_argument("--baseline", default="backprop", metavar="SCHEME", help="for differences (default: backprop)")
    parser.add_argument("--control", default="frozen", metavar="SCHEME", help="for differences (default: frozen)")
    parser.add_argument(
        "--quality",
        type=float,
        metavar="VALUE",
        help="tell the time to this value of the validation metric (default: what every one above the control reaches)",
    )
    parser.add_argument("--format", choices=sorted(_ENDINGS), default="html", help="default: html")
    parser.add_argument("--out", metavar="FILE", help="default: report-... in the runs folder")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_store(parser)


def report(arguments: argparse.Namespace) -> int:
    from unlocked.reporting import report as write

    check_file("--out", arguments.out, _ENDINGS[arguments.format])
    if arguments.quality is not None and not math.isfinite(arguments.quality):
        raise ConfigError(f"--quality: {arguments.quality} is no value that a run can reach")
    send_leftovers(arguments)
    written = write(
        arguments.uri or arguments.runs,
        arguments.names,
        experiment=arguments.experiment,
        conditions=arguments.where,
        metrics=[arguments.metric] if arguments.metric else None,
        baseline=arguments.baseline,
        control=arguments.control,
        quality=arguments.quality,
        format=arguments.format,
        out=Path(arguments.out) if arguments.out else None,
        runs_root=Path(arguments.runs),
        command=shlex.join(["unlocked", *sys.argv[1:]]),
    )
    if arguments.json:
        print_json({"path": str(written.path), "answers": written.answers, "artifact_of": written.kept})
        return 0
    for answer in written.answers:
        print(answer)
    print(f"report: {written.path}")
    if written.kept is not None:
        print(f"artifact of: {written.kept} (report/{written.path.name})")
    elif written.problem is not None:
        print(f"no artifact: {written.problem}")
    return 0
