"""`unlocked export`: a trained net as one file, and its name in MLflow's registry."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, add_import, as_begun, import_given, store_address
from unlocked.errors import ConfigError


def add_export(commands: Any) -> None:
    parser = add_command(
        commands,
        "export",
        export,
        "a trained net as one file that runs without unlocked, or under a name in MLflow",
        "examples:\n"
        "  unlocked export runs/quickstart-cdni-s0-20260101-120000              torch.export, in the run folder\n"
        "  unlocked export runs/quickstart-cdni-s0-20260101-120000 --format onnx --out digits.onnx\n"
        "  unlocked export runs/unconditional-backprop-s0-20260101-120000 --net generator\n"
        "  unlocked export runs/quickstart-cdni-s0-20260101-120000 --format tensorboard   its curves, as events\n"
        "  unlocked export runs/quickstart-cdni-s0-20260101-120000 --register digits   a version in MLflow\n\n"
        "The file takes raw inputs, as `unlocked predict` does, and gives what the net gives. It is run again and\n"
        "held against the net before the command ends. ONNX: pip install 'unlocked[export]'.\n",
    )
    parser.add_argument("run", help="a run folder")
    parser.add_argument(
        "--format", choices=["torch", "onnx", "tensorboard"], help="torch (.pt2, the default), onnx, or tensorboard"
    )
    parser.add_argument("--out", metavar="FILE", help="default: exported.pt2, exported.onnx or tensorboard/ in the run")
    parser.add_argument("--net", metavar="NAME", help="which, of several; its inputs are then as it sees them")
    parser.add_argument(
        "--weights", choices=["best", "last"], default="best", help="best (the default): of the best validation metric"
    )
    parser.add_argument("--register", metavar="NAME", help="a new version of this name in MLflow's registry of models")
    parser.add_argument("--uri", type=store_address, help="of --register: default: the store that the run is in")
    add_import(parser)


def export(arguments: argparse.Namespace) -> int:
    from unlocked.runs.export import FORMATS
    from unlocked.runs.export import export as write
    from unlocked.runs.opened import open_trained

    import_given(arguments)
    run = Path(arguments.run).absolute()
    out = None if arguments.out is None else Path(arguments.out).absolute()
    if arguments.format == "tensorboard":
        from unlocked.runs.folder import read_config
        from unlocked.tracking.tensorboard import write_events

        read_config(run)
        folder = write_events(run, out)
        print(f"{folder} (tensorboard --logdir {shlex.quote(str(folder))})")
    elif arguments.format is not None or out is not None or arguments.register is None:
        suffixes = {suffix: name for name, suffix in FORMATS.items()}
        kind = arguments.format or (suffixes.get(out.suffix, "torch") if out is not None else "torch")
        out = out or run / f"exported{FORMATS[kind]}"
        if out.suffix != FORMATS[kind] or not out.parent.is_dir():
            fault = f"does not end in {FORMATS[kind]}" if out.suffix != FORMATS[kind] else "lies in no folder"
            raise ConfigError(f"--out: {out} {fault}")
        with as_begun(arguments, run):
            opened = open_trained(run, arguments.weights, arguments.imports)
        off = write(opened, kind, out, arguments.net)
        print(f"{out} (run again: outputs within {off:.1e} of the net's)")
    if arguments.register is not None:
        from unlocked.runs.register import register

        print(register(run, arguments.register, arguments.uri))
    return 0
