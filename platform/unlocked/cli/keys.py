"""`unlocked keys`: the configuration keys, a group at a time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unlocked.cli.common import add_command, add_import, import_given
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError
from unlocked.nearest import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from unlocked.schema.describe import Key

ALL = "all"


def add_keys(commands: Any) -> None:
    parser = add_command(
        commands,
        "keys",
        keys,
        "explain the configuration keys: type, default, meaning",
        "examples:\n"
        "  unlocked keys                         the groups, and the names of their keys\n"
        "  unlocked keys optimizer               one group\n"
        "  unlocked keys scheme.sg lr            a group in it; every key of that name\n"
        "  unlocked keys all --import my_scheme  all of them, also those of a scheme of your own\n",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP | KEY", help="such as optimizer, scheme.sg, lr; all")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    add_import(parser)


def keys(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    from unlocked.config import schema
    from unlocked.rich_text import plain_console
    from unlocked.schema.describe import keys_of

    whole = schema()
    known = list(keys_of(whole))
    chosen = [key for word in arguments.groups or [ALL] for key in _chosen(word, known)]
    if arguments.json:
        print_json([vars(key) for key in chosen])
        return 0
    console = plain_console(highlight=False, soft_wrap=True)
    if arguments.groups:
        _explain(chosen, console)
    else:
        _overview(whole, known, console)
    return 0


def _chosen(word: str, known: Sequence[Key]) -> list[Key]:
    inside = [key for key in known if word == ALL or key.name == word or key.name.startswith(f"{word}.")]
    found = inside or [key for key in known if key.name.rpartition(".")[2] == word]
    if not found:
        names = {name for key in known for name in (key.name, key.name.rpartition(".")[0], key.name.rpartition(".")[2])}
        raise ConfigError(f"keys: no group or key {word!r}{did_you_mean(word, names)} (unlocked keys shows all)")
    return found


def _explain(chosen: Sequence[Key], console: Console) -> None:
    """A key and its default as in a file, its type, and below it the meaning."""
    from rich.text import Text

    from unlocked.cli.listing import folded

    for key in dict.fromkeys(chosen):
        console.print(Text.assemble((key.name, "bold"), f": {key.default}", (f"  # {key.type}", "dim")))
        if key.meaning:
            console.print("\n".join(folded(key.meaning, min(console.width, 100))))


def _overview(whole: type, known: Sequence[Key], console: Console) -> None:
    from rich.text import Text

    from unlocked.cli.listing import folded
    from unlocked.schema.describe import groups_of

    groups = groups_of(whole)
    width = min(console.width, 100)
    of_group: dict[str, list[str]] = {"": [], **{group: [] for group in groups}}
    for key in known:
        group, _, name = key.name.partition(".")
        of_group[group if name else ""].append(name or group)
    for group, names in of_group.items():
        about = "\n".join(folded(groups.get(group, "Keys of no group."), width, "  "))
        console.print(Text.assemble((group, "bold"), "\n" * bool(group), about))
        console.print("\n".join(folded(", ".join(names), width)))
    console.print("\nunlocked keys optimizer: a group in full; unlocked keys lr: a key; unlocked keys all: everything")
