"""`unlocked inspect`: a look into trained classifiers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.common import add_command, add_import, as_begun, check_ranges, folder_of, import_given
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError

if TYPE_CHECKING:
    from unlocked.insight.robustness import Found
    from unlocked.insight.subject import Subject

EPSILONS = (0.02, 0.05, 0.1, 0.2)


def add_inspect(commands: Any) -> None:
    parser = add_command(
        commands,
        "inspect",
        inspect,
        "look into trained classifiers: filters, what a class rests on, adversarial examples",
        "examples:\n"
        "  unlocked inspect runs/digits-dfa-s0-20260101-120000\n"
        "  unlocked inspect runs/digits-*                                 robustness curves by scheme, in one figure\n"
        "  unlocked inspect runs/A --against runs/B                       do A's adversarial examples fool B?\n"
        "  unlocked inspect runs/A --target 3 --epsilon 0.1 0.2           towards one class\n\n"
        "It writes to inspect/ in the folder of each run, and adds to the run in MLflow if it is there:\n"
        "  filters.png        the weights that the input meets first\n"
        "  attributions.png   saliency and integrated gradients: what in an example its class rests on\n"
        "  adversarial.png    examples changed by FGSM and by PGD, and the classes that they are then taken for\n"
        "  robustness.png     accuracy over epsilon, beside random signs of the same size; also table.csv\n\n"
        "Attacks follow the true gradient of the plain net, whatever scheme trained it: with a scheme's own feedback\n"
        "they would be weak, and a net would look robust that is not. An epsilon is a share of the range of an input\n"
        "in the data, per channel or feature; of pixels between 0 and 1 it is the change itself. Inputs that are ids\n"
        "of tokens cannot be attacked so; of them there are attributions alone.\n",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder of a classifier; several: the same data")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="RUN",
        help="also show the examples that were made against each RUN to this one (repeatable)",
    )
    parser.add_argument(
        "--epsilon",
        nargs="+",
        type=float,
        metavar="E",
        help=f"how much an attack may change (default: {' '.join(map(str, EPSILONS))})",
    )
    parser.add_argument("--steps", type=int, help="of PGD (default: 10)")
    parser.add_argument("--target", metavar="CLASS", help="attack towards this class; default: away from the true one")
    parser.add_argument("--examples", type=int, default=500, help="of the split, drawn by --seed (default: 500)")
    parser.add_argument("--show", type=int, default=8, help="examples in a figure (default: 8)")
    parser.add_argument(
        "--split", choices=["train", "validation", "test"], default="test", help="whose examples (default: test)"
    )
    parser.add_argument(
        "--weights", choices=["best", "last"], default="best", help="of the best evaluation (default), or the last"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the examples and of what attacks draw")
    parser.add_argument("--out", metavar="FOLDER", help="where files go; nothing is then added to the runs in MLflow")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def inspect(arguments: argparse.Namespace) -> int:
    from unlocked.insight import Request
    from unlocked.insight import inspect as look
    from unlocked.tracking import sync_leftovers

    import_given(arguments)
    check_ranges(arguments, steps=(1, 10_000), examples=(1, 10**9), show=(1, 40), seed=(0, 2**63 - 1))
    epsilons = tuple(dict.fromkeys(arguments.epsilon or EPSILONS))
    for epsilon in epsilons:
        if not 0 < epsilon <= 1:
            raise ConfigError(f"--epsilon: must be greater than 0 and at most 1, got {epsilon:g}")
    request = Request(
        epsilons,
        arguments.steps or Request.steps,
        arguments.target,
        arguments.seed,
        arguments.show,
        insists=bool(arguments.epsilon or arguments.steps or arguments.target or arguments.against),
    )
    runs, against = ([Path(run).absolute() for run in given] for given in (arguments.runs, arguments.against))
    out = folder_of(arguments)
    subjects = {run: _opened(arguments, run) for run in dict.fromkeys([*runs, *against])}
    report = look(
        [subjects[run] for run in dict.fromkeys(runs)], [subjects[run] for run in dict.fromkeys(against)], request, out
    )
    _print(report.found)
    for name, missed in report.completeness.items():
        print(f"{name}: integrated gradients miss completeness by {missed:.2%}")
    for note in report.notes:
        print(f"note: {note}")
    for path in report.files:
        print(path)
    if out is None:
        for root in dict.fromkeys(run.parent for run in runs):
            sync_leftovers(root, wait=30.0)
    if arguments.json:
        print_json({"table": report.rows(), "files": [str(path) for path in report.files]})
    return 0


def _opened(arguments: argparse.Namespace, run: Path) -> Subject:
    from unlocked.insight import open_run

    with as_begun(arguments, run):
        return open_run(run, arguments.split, arguments.weights, arguments.examples, arguments.seed)


def _print(found: Sequence[Found]) -> None:
    """A line for each attack and pair of runs, a column for unchanged examples and one for each epsilon."""
    if not found:
        return
    from unlocked.cli.common import wide_console
    from unlocked.rich_text import PlainTable

    epsilons = list(dict.fromkeys(each.epsilon for each in found if each.epsilon))
    table = PlainTable("examples of", "shown to", "scheme", "attack", "as it is", *(f"ε {e:g}" for e in epsilons))
    lines: dict[tuple[str, ...], dict[float, str]] = {}
    for each in found:
        shown = f"{each.accuracy:.3f}" + ("" if each.hit is None else f" ({each.hit:.3f} hit)")
        lines.setdefault(
            (each.made, "itself" if each.made == each.shown else each.shown, each.scheme, each.attack), {}
        )[each.epsilon] = shown
    for line, values in lines.items():
        table.add_row(*line, *(values.get(epsilon, "") for epsilon in (0.0, *epsilons)))
    wide_console().print(table)
    aims = "; hit: taken for the class of --target" if any(each.hit is not None for each in found) else ""
    print(f"Accuracy{aims}. noise: random signs of size ε; ε: a share of the range of an input in the data")
