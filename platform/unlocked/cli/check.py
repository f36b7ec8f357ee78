"""`unlocked check`: can this configuration train at all?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, add_import, check_ranges, folder_of, import_given
from unlocked.cli.terminal import print_json


def add_check(commands: Any) -> None:
    parser = add_command(
        commands,
        "check",
        check,
        "check a configuration before it is trained: gradients, one minibatch, units, the learning rate",
        "examples:\n"
        "  unlocked check quickstart\n"
        "  unlocked check quickstart model.activation=sigmoid --variant model.activation=relu\n"
        "  unlocked check quickstart --out check/           also the pictures\n\n"
        "It looks at:\n"
        "  gradients           against differences in float64, on a few examples\n"
        "  one minibatch       the configured scheme learns it by heart\n"
        "  units               dead or saturated ones, before training\n"
        "  gradient by block   does it vanish or explode on the way down?\n"
        "  learning rate       the loss while the rate grows, and where it falls steepest\n\n"
        "It ends with 1 if a check fails. Nothing is kept but the pictures of --out.\n",
    )
    parser.add_argument("config", help="a preset (unlocked list presets) or a .yaml file")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="key=value",
        help="also show the gradient by block with this key changed (repeatable)",
    )
    parser.add_argument("--steps", type=int, default=100, help="on one minibatch, and of the range (default: 100)")
    parser.add_argument("--out", metavar="FOLDER", help="gradients.png and rates.png go there")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of words")
    add_import(parser)


def check(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    folder = folder_of(arguments)
    check_ranges(arguments, steps=(10, 100_000))
    from unlocked.config import load_config
    from unlocked.insight.checkup import checkup

    config = load_config(arguments.config, arguments.overrides)
    variants = {word: load_config(arguments.config, [*arguments.overrides, word]) for word in arguments.variant}
    report = checkup(config, variants, arguments.steps)
    files = [] if folder is None else _draw(report, folder, _line(config, arguments.steps))
    if arguments.json:
        found = [{"check": each.check, "ok": each.ok, "words": each.words} for each in report.findings]
        print_json(
            {
                "findings": found,
                "gradients": report.gradients,
                "suggestion": report.suggestion,
                "files": [str(path) for path in files],
            }
        )
    else:
        words = {True: "ok", False: "PROBLEM", None: "skipped"}
        for each in report.findings:
            print(f"{words[each.ok]:<8} {each.check}: {each.words}")
        for path in files:
            print(path)
    return 0 if report.sound else 1


def _draw(report: Any, folder: Path, line: str) -> list[Path]:
    from unlocked.drawing.checks import gradients_by_block, range_test
    from unlocked.drawing.style import captioned

    folder.mkdir(parents=True, exist_ok=True)
    with captioned(line):
        files = [gradients_by_block(report.gradients, folder / "gradients.png")]
        if report.rates:
            files.append(range_test(report.rates, report.suggestion, folder / "rates.png"))
    return files


def _line(config: Any, steps: int) -> str:
    """Which configuration the figures are of."""
    words = [f"{config.model['name']} on {config.data.name}", config.scheme.name, f"seed {config.seed}"]
    return "  ·  ".join([*([config.name] if config.name != config.model["name"] else []), *words, f"{steps} steps"])
