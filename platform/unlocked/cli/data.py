"""`unlocked data FILE`: what a file would be read as, what is in it, and a configuration that is ready to train."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked import strict_json
from unlocked.cli.common import add_command, add_import, check_file, import_given
from unlocked.cli.listing import folded, show
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError, RunFailed

if TYPE_CHECKING:
    from unlocked.data.files.looking import Look


def add_data(commands: Any) -> None:
    parser = add_command(
        commands,
        "data",
        data,
        "look at a file of your own, and get a configuration for it",
        "examples:\n"
        "  unlocked data letters.csv                               columns, types, missing values, classes\n"
        "  unlocked data letters.csv target=letter --write letters.yaml\n"
        "  unlocked train letters.yaml\n"
        "  unlocked data sales.csv --as series target=[units] horizon=4\n\n"
        "What follows FILE are options of the data set that reads it (`unlocked list data`).\n",
    )
    parser.add_argument("file", metavar="FILE", help="a file, or a folder of files")
    parser.add_argument("overrides", nargs="*", metavar="OPTION=VALUE", help="as in data.options")
    parser.add_argument("--as", dest="kind", metavar="KIND", help="the data set to read it, if not the first that fits")
    parser.add_argument("--write", metavar="NAME.yaml", help="write the configuration to a new file")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of tables")
    add_import(parser)


def data(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    check_file("--write", arguments.write, (".yaml", ".yml"))
    if arguments.write is not None and Path(arguments.write).exists():
        raise ConfigError(f"--write: {arguments.write} exists already; name another file")
    from unlocked.config import load_config
    from unlocked.config.yaml12 import write_yaml
    from unlocked.data.files.looking import LOOKS, kind_of, kinds_of, look_at
    from unlocked.data.files.source import Source
    from unlocked.engines import HERE

    path = Path(arguments.file).expanduser()
    kind = kind_of(path, arguments.kind)
    file = f"data.options.{LOOKS.facts(kind)['option']}={strict_json.dumps(str(path))}"
    given = [f"data.options.{each.removeprefix('data.options.')}" for each in arguments.overrides]
    said = {word.partition("=")[0].removeprefix("data.options.") for word in given}
    guessed = [option for option in LOOKS.facts(kind)["guessed"] if option not in said]
    words = [f"data.name={kind}", file, *(f"data.options.{option}='?'" for option in guessed), *given]
    options = load_config("quickstart", words).data.options
    options = {option: value for option, value in options.items() if option not in guessed}
    look = look_at(Source(kind, Path("data").absolute()), path, kind, options)
    config = {
        "name": _name(Path(arguments.write or path)),
        **look.config,
        "scheme": {"name": "backprop"},
        "parallel": {"modules": 2, "engine": HERE},  # two: schemes differ from there on; no Ray for a first look
    }
    if arguments.json:
        print_json({"kind": kind, **vars(look), "config": config})
    else:
        _show(path, kind, [other for other in kinds_of(path) if other != kind], look)
    text = write_yaml(config)
    if arguments.write is not None:
        try:
            Path(arguments.write).write_text(text, encoding="utf-8")
        except OSError as error:
            raise RunFailed(f"{arguments.write}: cannot be written: {error.strerror}") from None
    if not arguments.json:
        _show_config(text, arguments.write)
    return 0


def _name(path: Path) -> str:
    return re.sub(r"[^\w.-]+", "-", path.resolve().stem).strip("-.") or "mine"


def _show(path: Path, kind: str, others: list[str], look: Look) -> None:
    from unlocked.cli.common import wide_console
    from unlocked.security.names import without_controls

    console = wide_console(highlight=False)
    also = f"; also readable as {', '.join(others)} (--as)" if others else ""
    console.print(without_controls(f"{path}: {kind} ({look.read_as}){also}"), soft_wrap=True)
    if look.counts:
        counts = ", ".join(f"{value:,} {what}" if isinstance(value, int) else f"{what} {value}"
                           for what, value in look.counts.items())  # fmt: skip
        console.print(without_controls(counts), soft_wrap=True)
    for title, rows in look.tables.items():
        if rows:
            console.print(f"\n{title}", style="bold")
            show(rows, console)
    if look.notes:
        console.print()
    for note in look.notes:
        console.print("\n".join(folded(without_controls(f"note: {note}"), min(console.width, 100), "")), soft_wrap=True)


def _show_config(text: str, written: str | None) -> None:
    from unlocked.cli.common import wide_console
    from unlocked.security.names import without_controls

    console = wide_console(highlight=False)
    if written is not None:
        console.print(f"\n{written} written; train it: unlocked train {written}", soft_wrap=True)
        return
    console.print("\na configuration (--write NAME.yaml)", style="bold")
    for line in text.splitlines():
        console.print(without_controls(line), soft_wrap=True)
