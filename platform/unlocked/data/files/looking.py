"""What a file is, before anything is trained on it: `unlocked data FILE`.

Each kind of file registers one function, beside the data set that reads it:

    @register_look("table", fits=lambda path: 3 if path.suffix == ".csv" else 0)
    def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
        '''`options`: those of the data set that were given, without the one that names the file.'''

`fits` says how surely a file or folder is of this kind: 0 not at all, 1 if need be, 2 by its name, 3 by what is in it.
The surest is taken, of equals the first by name; `--as KIND` asks for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlocked.data.files.source import Source
from unlocked.errors import DataError, reason
from unlocked_models.contract.registry import Registry, unknown

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Look:
    """What was seen in a file.

    Args:
        read_as: one line: format, encoding, sizes.
        counts: by what is counted, in the order to be shown: `{"rows": 20000}`.
        tables: by title, rows with the same keys each: columns with their types, classes with their counts.
        notes: what a person should know before training: missing values, few examples of a class, a class in test only.
        config: a ready configuration, as its YAML file will have it; `name` is added.
    """

    read_as: str
    counts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Rows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)


LOOKS: Registry[Callable[..., Look]] = Registry("kind of file")


def register_look(
    kind: str, *, fits: Callable[[Path], int], option: str = "file", guessed: Sequence[str] = ()
) -> Callable[[Any], Any]:
    """`kind`: the name of the data set that reads it; `option`: its option that names the file or folder; `guessed`:
    options that it needs, and the look finds out if they are not given."""
    return LOOKS.register(kind, fits=fits, option=option, guessed=tuple(guessed))


def kinds_of(path: Path) -> list[str]:
    """The kinds that it may be of, the surest first."""
    sure = {kind: LOOKS.facts(kind)["fits"](path) for kind in LOOKS}
    return sorted((kind for kind in LOOKS if sure[kind]), key=lambda kind: -sure[kind])


def kind_of(path: Path, asked: str | None = None) -> str:
    """The surest, or the one that was `asked` for. Raises `DataError`, one line, if there is none."""
    if not path.exists():
        raise DataError(f"{path}: is no file or folder")
    if asked is not None and asked not in LOOKS:
        raise DataError(f"--as: {unknown('kind of file', asked, LOOKS.names())}")
    chosen = asked or next(iter(kinds_of(path)), None)
    if chosen is None:
        raise DataError(f"{path}: is of no known kind ({', '.join(LOOKS)}); --as KIND says which it is to be read as")
    return chosen


def look_at(source: Source, path: Path, kind: str, options: Mapping[str, Any]) -> Look:
    """Raises `DataError`, one line, for a file that cannot be read as that kind."""
    try:
        return LOOKS.get(kind)(source, path, options)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
