"""What a run or a study needs beside its configuration: modules of the user's, and the folder it was begun in.

    runs/<run>/needs.json   {"place": "/home/ann/digits/runs/<run>", "folder": "/home/ann/digits",
                             "imports": [{"name": "my_models", "folder": "/home/ann/digits"}], "signature": "..."}

So whatever goes on with it later, from whichever folder, imports the same modules and finds the same files. Modules are
code, and a run folder may be somebody else's: only what this user has signed is followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError, UnlockedError
from unlocked.files import read_json, write_json
from unlocked.plugins import folder_of, import_module, reach
from unlocked.security import is_signed, sign

FILE = "needs.json"
VARIABLE = "UNLOCKED_NEEDS"  # of a job, which runs in a copy of the folder it was submitted from


@dataclass(frozen=True)
class Import:
    name: str
    folder: str | None  # None: it was installed


@dataclass(frozen=True)
class Needs:
    folder: str
    imports: list[Import]

    @classmethod
    def here(cls, imports: Sequence[str]) -> Needs:
        """Of what begins in this process: the full names of imported modules."""
        return cls(os.getcwd(), [Import(name, folder_of(name)) for name in dict.fromkeys(imports)])

    @classmethod
    def of(cls, value: Any) -> Needs:
        """Raises ValueError for what is none."""
        try:
            return cls(str(value["folder"]), [Import(str(each["name"]), each["folder"]) for each in value["imports"]])
        except (TypeError, KeyError):
            raise ValueError("no needs of a run") from None

    def words(self) -> str:
        return json.dumps(asdict(self))


def keep_needs(place: Path, imports: Sequence[str]) -> None:
    """Writes down what the run or study in the folder `place` needs. Raises `OSError` if the disk takes no more.

    Where nothing can be signed here (no home to keep a key in), what is kept will not be followed.
    """
    given = os.environ.get(VARIABLE)
    needs = Needs.of(json.loads(given)) if given else Needs.here(imports)
    value = {"place": str(place.resolve()), **asdict(needs)}
    with contextlib.suppress(UnlockedError):
        value = sign(value)
    write_json(place / FILE, value)


def bring(place: Path, given: Sequence[str] = ()) -> list[str]:
    """Imports the modules that the run or study in `place` was begun with; all names, those `given` by the user first.

    Those replace what cannot be found any more, or may not be imported on the word of a file.
    Raises `ConfigError`, one line, that says what to pass to --import.
    """
    value = _read(place)
    try:
        needs = Needs.of(value) if value else Needs("", [])
    except ValueError:
        needs = Needs("", [])
    here = [each.name for each in needs.imports if each.name in sys.modules]
    lacking = [each for each in needs.imports if each.name not in (*given, *here)]
    if lacking and not is_signed(value):
        if given:
            return list(dict.fromkeys([*given, *here]))
        wanted = " ".join(f"--import {each.name}" for each in lacking)
        raise ConfigError(
            f"{place}: was begun with {wanted!r} by another user or on another machine, and a file of a "
            "run folder may not have code imported here; look at these modules and pass it"
        )
    brought = []
    for each in lacking:
        if each.folder is not None:
            reach(each.folder)
        try:
            brought.append(
                import_module(
                    each.name,
                    f"{place}: needs the module {each.name}"
                    + (f", which was in {each.folder}" if each.folder else "")
                    + f" (--import {each.name})",
                )
            )
        except ConfigError:
            if not given:
                raise
    return list(dict.fromkeys([*given, *here, *brought]))


def began_in(place: Path) -> Path | None:
    """The folder in which the run or study in `place` was begun; None if nobody can know, or it has been moved."""
    value = _read(place)
    if not value or not is_signed(value) or value.get("place") != str(place.resolve()):
        return None
    folder = Path(value["folder"])
    return folder if folder.is_dir() else None


def _read(place: Path) -> dict[str, Any]:
    try:
        value = read_json(place / FILE)
    except ValueError:  # no text
        return {}
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def where_it_began(place: Path) -> Iterator[Path | None]:
    """Works in the folder in which `place` was begun, so that its relative paths lead where they led; None: here."""
    folder = began_in(place)
    if folder is None or folder.resolve() == Path.cwd().resolve():
        yield None
        return
    with contextlib.chdir(folder):
        yield folder
