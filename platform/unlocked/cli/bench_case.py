"""What `unlocked bench scaling` and `deepspeed` measure: a case or a configuration, and changes to it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from unlocked.errors import ConfigError

if TYPE_CHECKING:
    from unlocked.config import Config


def add_case(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="CASE | key=value", help="a case (default: mlp), and changes to its configuration"
    )
    parser.add_argument("--config", metavar="NAME", help="a preset or a .yaml file instead of a case")


def case_given(arguments: argparse.Namespace, where: str) -> tuple[Callable[[list[str]], Config], list[str]]:
    """The configuration as a function of changes to it, and those that were given. `where`: the command, in errors."""
    from unlocked.bench.measured.scaling import load_case
    from unlocked.config import load_config

    changes = [word for word in arguments.words if "=" in word]
    names = [word for word in arguments.words if "=" not in word]
    if len(names) > 1 or (names and arguments.config):
        raise ConfigError(
            f"{where}: one case or one --config at a time, not {' and '.join(names)}"
            + (f" and {arguments.config}" if arguments.config else "")
        )
    if arguments.config:
        return partial(load_config, arguments.config), changes
    return partial(load_case, names[0] if names else "mlp", where=where), changes
