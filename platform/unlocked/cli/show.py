"""`unlocked compare` and `unlocked ui`: what the tracked runs say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.common import DRAWN, add_command, check_file, store_address, wide_console
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError

if TYPE_CHECKING:
    from unlocked.comparing.rows import Row, Section


def add_compare(commands: Any) -> None:
    parser = add_command(
        commands,
        "compare",
        compare,
        "compare finished runs: mean and spread over seeds, from MLflow",
        "examples:\n"
        "  unlocked compare\n"
        "  unlocked compare --name quickstart --baseline backprop        differences, paired by seed\n"
        "  unlocked compare --name 'mnist1d/*' --where modules=4 --where scheme=cdni --where scheme=dni\n"
        "  unlocked compare --metric bits --metric accuracy --sort optimizer.lr --csv rates.csv\n"
        "  unlocked compare --trials --name search                       every trial of a sweep, the best first\n"
        "  unlocked compare --trials --name depth --against modules --plot depth.png\n\n"
        "Runs are seeds of one row if everything that can change a number is equal but the seed: configuration, data,\n"
        "code. What differs between rows is a column; data sets and tasks have tables of their own; speeds and waits\n"
        "have a column for every machine and engine.\n",
        at_first="reading the runs",
    )
    parser.add_argument("--experiment", metavar="NAME", help="only this MLflow experiment (default: all)")
    parser.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="only runs of this preset, configuration name or run folder; with * and ? (repeatable)",
    )
    add_where(parser)
    parser.add_argument("--trials", action="store_true", help="also the trials of `unlocked sweep`, a row for each")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="METRIC",
        help="accuracy, test/bits, time/steps_per_second, ... (repeatable; default: what the task "
        "follows, speed and waiting)",
    )
    parser.add_argument(
        "--baseline",
        metavar="SCHEME",
        help="also the difference to this scheme over the seeds that both have, with its interval",
    )
    parser.add_argument(
        "--sort",
        metavar="KEY",
        help="a metric that is shown (the better first), else a key (the lesser first), so that lr is "
        "optimizer.lr unless --metric lr; default: the first metric, the frozen control last",
    )
    parser.add_argument(
        "--group-by",
        default="model,scheme",
        metavar="A,B",
        help="tags or configuration keys that come first (default: model,scheme)",
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    parser.add_argument("--plot", metavar="FILE", help="also draw it as PNG: bars, or lines with --against")
    parser.add_argument("--against", metavar="KEY", help="draw lines over this numeric key (modules, lag, ...)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_store(parser)


def compare(arguments: argparse.Namespace) -> int:
    from unlocked.comparing.fitting import fitted
    from unlocked.comparing.question import Question
    from unlocked.comparing.rows import sections
    from unlocked.comparing.table import to_csv
    from unlocked.drawing.comparisons import comparison, comparison_against
    from unlocked.drawing.style import captioned

    check_file("--csv", arguments.csv)
    check_file("--plot", arguments.plot, DRAWN)
    send_leftovers(arguments)
    group_by = [key for key in arguments.group_by.split(",") if key]
    if arguments.against and arguments.against not in group_by:
        group_by.append(arguments.against)

    def matching(trials: bool) -> list[Section]:
        asked = Question(
            group_by, arguments.name, arguments.metric, trials, arguments.where, arguments.sort, arguments.baseline
        )
        return sections(arguments.uri or arguments.runs, arguments.experiment, asked)

    found = matching(arguments.trials)
    if not found:
        hint = "" if arguments.trials or not matching(True) else "; trials of a sweep do: add --trials"
        raise ConfigError(f"compare: no finished run matches{hint}")
    if arguments.plot and len(found) > 1:
        titles = "; ".join(section.title for section in found)
        raise ConfigError(
            f"--plot: there is a table each of {titles}; choose one with --experiment, --name or --where dataset=..."
        )
    rows = [row for section in found for row in section.rows]
    against = arguments.against and _key_against(rows, arguments.against)
    many = len(found) > 1
    console = wide_console(400)
    for section in found:
        console.print(
            fitted(
                section.rows,
                section.metrics,
                console.width,
                title=section.title if many else None,
                notes=section.notes,
                hide=("dataset", "task") if many else (),
                baseline=arguments.baseline,
            )
        )
    if arguments.csv:
        print(f"table: {to_csv(rows, Path(arguments.csv))}")
    if arguments.plot:
        path, metric = Path(arguments.plot), found[0].metrics[0]
        with captioned(_line(found[0], arguments)):
            drawn = comparison_against(rows, against, path, metric) if against else comparison(rows, path, metric)
        print(f"plot: {drawn}" if drawn else f"plot: no run has {metric}")
    if arguments.json:
        print_json([asdict(row) for row in rows])
    return 0


def _line(section: Section, arguments: argparse.Namespace) -> str:
    """Which runs a figure is of."""
    runs = sum(len(row.seeds) for row in section.rows)
    of = [arguments.experiment, *(arguments.name or ())]
    asked = [" ".join(filter(None, of)), " ".join(arguments.where), "with trials" if arguments.trials else ""]
    count = f"{runs} run{'s' * (runs != 1)} in {len(section.rows)} configuration{'s' * (len(section.rows) != 1)}"
    return "  ·  ".join(filter(None, [section.title, *asked, count]))


def _key_against(rows: Sequence[Row], word: str) -> str:
    """The key of the rows that a word means, which has a number in one of them."""
    from unlocked.numerals import is_number
    from unlocked.tracking.identity import TAG_OF

    meant = (key for key in rows[0].group if key in (word, TAG_OF.get(word)) or key.endswith(f".{word}"))
    key = next(meant, word)
    if not any(is_number(row.group.get(key, "")) for row in rows):
        raise ConfigError(f"--against: no run has a number for {word}; lines need one, such as modules, lag or a rate")
    return key


def add_ui(commands: Any) -> None:
    parser = add_command(
        commands,
        "ui",
        ui,
        "open the MLflow dashboard, on this machine's loopback",
        "examples:\n  unlocked ui\n  unlocked ui --port 5001\n"
        "  unlocked ui --host 0.0.0.0 --allow-host head.example     others too, after a login\n",
        at_first="",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="beyond loopback MLflow asks for a login (needs mlflow[auth])"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which browsers reach it (repeatable); others are refused",
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument(
        "--no-browser", action="store_true", help="print the links alone; so it is without a screen, and over SSH"
    )
    add_store(parser)


def ui(arguments: argparse.Namespace) -> int:
    from unlocked.tracking import serve
    from unlocked.tracking.browser import show

    send_leftovers(arguments)
    browse = None if arguments.no_browser or not sys.stdout.isatty() else show
    source = arguments.uri or arguments.runs
    return serve(source, arguments.host, arguments.port, allowed_hosts=arguments.allow_host, browse=browse)


def send_leftovers(arguments: argparse.Namespace) -> None:
    from unlocked.tracking import adopt, sync_leftovers

    for run in arguments.adopt:
        adopt(Path(run), arguments.uri, Path(arguments.runs))
    sync_leftovers(Path(arguments.runs), arguments.uri, wait=30.0)


def add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this tag or configuration key (repeatable: all keys, any value of each)",
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", default="runs", help="the runs folder (default: runs)")
    parser.add_argument(
        "--adopt",
        action="append",
        default=[],
        metavar="RUN",
        help="send the records of a run folder that somebody else wrote to this store (repeatable)",
    )
    parser.add_argument(
        "--uri", type=store_address, help="an MLflow tracking address, instead of the database in the runs folder"
    )
