"""`unlocked generate`: pictures, samples or texts of a trained run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, add_import, as_begun, folder_of, import_given
from unlocked.cli.terminal import print_json


def add_generate(commands: Any) -> None:
    parser = add_command(
        commands,
        "generate",
        generate,
        "let a trained run make something: pictures, samples, texts",
        "examples:\n"
        "  unlocked generate runs/vae-backprop-s0-20260101-120000                 all pictures of an autoencoder\n"
        "  unlocked generate runs/vae-backprop-s0-20260101-120000 what=[samples] n=8 seed=1 --out pictures\n"
        "  unlocked generate runs/gan-backprop-s0-20260101-120000 what=interpolation classes=[3,7]\n"
        '  unlocked generate runs/skipgram-cdni-s0-20260101-120000 --input word --input "is are was"\n'
        "                                              neighbours of a word; is to are as was to which words?\n"
        '  unlocked generate runs/gpt-backprop-s0-20260101-120000 --input "The statement" top_k=10\n\n'
        "Options are those of the run's task, which `unlocked list tasks` shows, and weights=best|last.\n",
    )
    parser.add_argument("run", help="a run folder")
    parser.add_argument("overrides", nargs="*", metavar="option=value", help="options of the run's kind of output")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="TEXT",
        help="what to begin with or to translate, for runs of texts (repeatable)",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where files go (default: generated/ in the run folder)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)


def generate(arguments: argparse.Namespace) -> int:
    from unlocked.config import parse_overrides
    from unlocked.generate import generate as make

    import_given(arguments)
    options = parse_overrides(arguments.overrides)
    if arguments.out:
        options["out"] = str(folder_of(arguments))
    run = Path(arguments.run).absolute()
    with as_begun(arguments, run):
        made = [str(thing) for thing in make(run, arguments.input, **options)]
    for thing in made:
        print(thing)
    if arguments.json:
        print_json(made)
    return 0
