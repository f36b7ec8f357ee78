"""What the subcommands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.errors import ConfigError
from unlocked.plugins import import_modules
from unlocked.security import refuse_store

if TYPE_CHECKING:
    from rich.console import Console


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str,
                command: Callable[[argparse.Namespace], int], summary: str, examples: str) -> argparse.ArgumentParser:
    """A subcommand whose --help ends in examples."""
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".",
                                 formatter_class=argparse.RawDescriptionHelpFormatter, epilog=examples)
    parser.set_defaults(command=command)
    return parser


def wide_console(width: int = 200, **options: Any) -> Console:
    """A console of `width` columns where it writes to a file or a pipe, which has none to fit into."""
    from unlocked.rich_text import plain_console

    console = plain_console(**options)
    if not console.is_terminal:
        console.width = width
    return console


def store_address(text: str) -> str:
    """The `type` of an option that names MLflow's store."""
    try:
        refuse_store("--uri", text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--uri: ")) from None
    return text


def add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE",
                        help="import a Python module that registers models, data sets or schemes (repeatable)")


def import_given(arguments: argparse.Namespace) -> None:
    """The modules of --import, found from the working directory as well."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    import_modules(arguments.imports)
