"""What the subcommands share."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.cli.alive import IMPORTING
from unlocked.cli.help_text import HelpFormatter
from unlocked.errors import ConfigError
from unlocked.plugins import import_modules
from unlocked.schema.facts import Fact
from unlocked.search_path import find_here_last
from unlocked.security import refuse_store

if TYPE_CHECKING:
    from rich.console import Console

DRAWN = (".png", ".pdf", ".svg")  # formats of plots


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], int],
    summary: str,
    examples: str,
    at_first: str = IMPORTING,
) -> argparse.ArgumentParser:
    """A subcommand whose --help ends in examples.

    `at_first`: what a terminal shows until there is something to see."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=HelpFormatter,
        epilog=examples,
    )
    parser.set_defaults(command=command, at_first=at_first, parser=parser)
    return parser


def wide_console(width: int = 200, **options: Any) -> Console:
    """A console of `width` columns where it writes to a file or a pipe, which has none to fit into."""
    from unlocked.rich_text import plain_console

    console = plain_console(**options)
    if not console.is_terminal:
        console.width = width
    return console


def check_ranges(arguments: argparse.Namespace, **ranges: tuple[float, float]) -> None:
    """Raises `ConfigError` for an option of numbers that is not from the least to the most that it may be."""
    for name, (least, most) in ranges.items():
        value = getattr(arguments, name)
        if value is not None and (problem := Fact("", low=least, high=most).problem(value)) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}: {problem}")


def store_address(text: str) -> str:
    """The `type` of an option that names MLflow's store."""
    try:
        refuse_store("--uri", text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--uri: ")) from None
    return text


def check_file(option: str, path: str | Path | None, suffixes: Sequence[str] = ()) -> None:
    """Raises `ConfigError` for a file to write that is a folder or lies in a file, or is to be drawn in a format that
    nothing draws."""
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder; name a file in it")
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir():
        raise ConfigError(f"{option}: {above} is a file, and {path} cannot lie in it")
    if suffixes and path.suffix not in suffixes:
        raise ConfigError(f"{option}: {path} does not end in {' or '.join(suffixes)}")


def folder_of(arguments: argparse.Namespace) -> Path | None:
    """The whole path of `--out`, made if it is not there; raises `ConfigError` if it cannot be."""
    if arguments.out is None:
        return None
    folder = Path(arguments.out).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {folder} cannot be made: {error.strerror}") from None
    return folder


def add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module, by its name or as a file ending in .py, that registers models, "
        "data sets, tasks, losses, metrics, callbacks, transforms, schemes, optimizers or engines (repeatable); "
        "runs and studies remember it",
    )


def import_given(arguments: argparse.Namespace) -> None:
    """The modules of --import, found from the working directory as well."""
    find_here_last()
    arguments.imports = import_modules(arguments.imports)


@contextlib.contextmanager
def as_begun(arguments: argparse.Namespace, place: Path | None) -> Iterator[None]:
    """With the modules that the run or study in the folder `place` was begun with, in the folder where it was."""
    if place is None:
        yield
        return
    from unlocked.runs.needs import bring, where_it_began

    arguments.imports = bring(place, arguments.imports)
    with where_it_began(place) as folder:
        if folder is not None:
            print(f"unlocked: in {folder}, where {place.name} was begun", file=sys.stderr)
        yield


def place_of(arguments: argparse.Namespace) -> Path | None:
    """The folder of the run or study that the configuration lies in, such as runs/search of runs/search/best.yaml;
    the configuration's path is then absolute."""
    from unlocked.runs.needs import FILE

    path = Path(arguments.config).absolute()
    if path.suffix not in (".yaml", ".yml"):
        return None
    place = next((folder for folder in list(path.parents)[:2] if (folder / FILE).is_file()), None)
    if place is not None:
        arguments.config = str(path)
    return place
