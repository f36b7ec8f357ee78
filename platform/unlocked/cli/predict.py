"""`unlocked predict`: what a trained run says of new inputs."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked import strict_json
from unlocked.cli.common import add_command, add_import, as_begun, check_file, import_given
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError, RunFailed
from unlocked.security.names import without_controls

if TYPE_CHECKING:
    from unlocked.runs.opened import Opened
    from unlocked.tasks.predicting import Columns

OUT = (".csv", ".parquet", ".jsonl", ".json", ".npz")
SHOWN = 40  # rows, on a terminal


def add_predict(commands: Any) -> None:
    parser = add_command(
        commands,
        "predict",
        predict,
        "ask a trained run about new inputs",
        "examples:\n"
        "  unlocked predict runs/quickstart-cdni-s0-20260101-120000 new.csv\n"
        "  unlocked predict runs/quickstart-cdni-s0-20260101-120000 pictures/ --out found.csv\n"
        "  unlocked predict runs/docstrings-dfa-s0-20260101-120000 texts.txt | sort -t, -k3 -n\n"
        "  unlocked predict runs/letters-cdni-s0-20260101-120000 new.csv --id name --output found.parquet\n"
        "  unlocked predict runs/gpt-backprop-s0-20260101-120000 begun.txt --continuation 40\n"
        "  unlocked predict runs/quickstart-cdni-s0-20260101-120000 new.npz --out outputs.npz\n\n"
        "Files: .csv, .tsv or .parquet (a row for each input: its numbers, or a column `text`); .npz, .npy or\n"
        ".safetensors (an array x of inputs as the data set has them before it is normalised; a graph's x and\n"
        "edge_index); .png, .jpg ..., .wav, or a folder of such; .txt (a text in each line). Inputs are\n"
        "normalised, or cut into tokens, as in training; the data set is not needed. A\n"
        "table on a terminal, CSV in a pipe.\n",
    )
    parser.add_argument("run", help="a run folder")
    parser.add_argument("file", help="new inputs: a file, or a folder of images or sounds")
    parser.add_argument(
        "--weights", choices=["best", "last"], default="best", help="best (the default): of the best validation metric"
    )
    parser.add_argument(
        "--out",
        "--output",
        metavar="FILE",
        help=f"write the table to a file ({', '.join(OUT[:-1])}), or what the net gives, as `outputs` of an .npz",
    )
    parser.add_argument("--id", metavar="COLUMN", help="of the file, which names the rows in place of their numbers")
    parser.add_argument(
        "--continuation", type=int, default=0, metavar="N", help="of a language model: also the likeliest N tokens"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line instead of the table")
    add_import(parser)


def predict(arguments: argparse.Namespace) -> int:
    from unlocked.runs.opened import open_trained

    import_given(arguments)
    check_file("--out", arguments.out, OUT)
    if arguments.continuation < 0:
        raise ConfigError(f"--continuation: must be at least 1, got {arguments.continuation}")
    out = None if arguments.out is None else Path(arguments.out).absolute()
    run, file = Path(arguments.run).absolute(), Path(arguments.file)
    shown = file.absolute() if not file.is_absolute() and not file.exists() else file
    with as_begun(arguments, run):
        opened = open_trained(run, arguments.weights, arguments.imports)
    new = opened.read(shown)
    for note in new.notes:
        print(without_controls(f"unlocked: note: {note}"), file=sys.stderr)
    if out is not None and out.suffix == ".npz":
        _write(out, _as_npz(opened, new))
        print(out)
        return 0
    table = opened.table(new, arguments.continuation)
    count = len(next(iter(table.values())))
    names = new.names if new.names is not None and len(new.names) == count else list(range(1, count + 1))
    table = {new.named if new.names is not None else "row": names, **table}
    if arguments.id is not None:
        from unlocked.data.new.targets import names_of_rows

        ids = names_of_rows(shown, arguments.id, opened.reading)
        if len(ids) != count:
            raise ConfigError(f"--id: {file} has {len(ids)} rows, and {count} things are said of it")
        table = {arguments.id: ids, **{name: column for name, column in table.items() if name != "row"}}
    if out is not None:
        _write(out, _as_file(table, out.suffix))
        print(out)
    if arguments.json:
        print_json(table)
    elif out is None and sys.stdout.isatty():
        _show(table)
    elif out is None:
        print(_as_csv(table, without_controls), end="")  # which may be on a terminal in the end, unlike a file
    return 0


def _as_npz(opened: Opened, new: Any) -> bytes:
    import numpy as np

    held = io.BytesIO()
    np.savez(held, outputs=opened.outputs(new).numpy())
    return held.getvalue()


def _as_file(table: Columns, suffix: str) -> bytes:
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        held = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(table), held)
        return held.getvalue()
    if suffix == ".jsonl":
        rows = zip(*table.values(), strict=True)
        return "".join(strict_json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows).encode()
    if suffix == ".json":
        return strict_json.dumps(table, indent=1).encode()
    return _as_csv(table).encode()


def _as_csv(table: Columns, shown: Callable[[str], str] = str) -> str:
    held = io.StringIO()
    lines = csv.writer(held, lineterminator="\n")
    lines.writerow(map(shown, table))
    lines.writerows(zip(*([_cell(each, shown) for each in column] for column in table.values()), strict=True))
    return held.getvalue()


def _cell(value: Any, shown: Callable[[str], str]) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else shown(value) if isinstance(value, str) else value


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        raise ConfigError(f"--out: the folder of {path} is not there") from None
    except OSError as error:
        raise RunFailed(f"{path}: cannot be written: {error.strerror}") from None


def _show(table: Columns) -> None:
    """The first rows; columns that do not fit, such as probabilities of many classes, are left to --out."""
    from unlocked.rich_text import PlainTable, plain_console

    console = plain_console()
    rows = len(next(iter(table.values())))
    cells = {name: [_short(each) for each in column[:SHOWN]] for name, column in table.items()}
    kept: list[str] = []
    room = console.width - 1
    for name, column in cells.items():
        room -= max(map(len, [name, *column])) + 3
        if room < 0 and len(kept) > 1:
            break
        kept.append(name)
    shown = PlainTable(*kept)
    for row in zip(*(cells[name] for name in kept), strict=True):
        shown.add_row(*row)
    console.print(shown)
    left = [f"{rows - SHOWN} more rows"] * (rows > SHOWN) + [f"{len(cells) - len(kept)} more columns"] * (
        len(cells) > len(kept)
    )
    if left:
        console.print(f"{' and '.join(left)}: --out FILE.csv")


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
