"""The modules of --import on their way to a cluster: each with what it imports from beside it.

A module inside the project travels with it, whatever git says of its file; one from elsewhere lies in the archive as

    imports-1/<module>.py   imports-1/<package>/...

Installed modules stay at home: the nodes must have them, as they have unlocked itself.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlocked.errors import ConfigError
from unlocked.plugins import folder_of


@dataclass
class Along:
    """`words` name the modules in the job; `files`: the name in the archive of each file that must be in it."""

    words: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)


def along(project: Path, names: Sequence[str]) -> Along:
    """Of imported modules, by their full names. Raises `ConfigError` for one that is no file."""
    found, project = Along(), project.resolve()
    folders: dict[Path, str] = {}  # outside the project, and what stands for each in the archive
    for name in names:
        folder = folder_of(name)
        if folder is None:
            found.words.append(name)
            continue
        root = Path(folder).resolve()
        if root.is_relative_to(project):
            place = root.relative_to(project).as_posix()
        else:
            place = folders.setdefault(root, f"imports-{len(folders) + 1}")
        before = "" if place == "." else f"{place}/"
        for file in _beside(root, name.partition(".")[0]):
            found.files[before + file.relative_to(root).as_posix()] = file
        found.words.append(name if place == "." else before + _file_of(name, root))
    return found


def _file_of(name: str, root: Path) -> str:
    """The path of an imported module below its folder, as --import takes it."""
    file = getattr(sys.modules[name], "__file__", None)
    if file is None:
        raise ConfigError(
            f"--import {name}: is a folder without __init__.py, which cannot travel from outside the project"
        )
    return Path(file).resolve().relative_to(root).as_posix()


def _beside(root: Path, name: str) -> Iterator[Path]:
    """The files of a module or package of the folder `root`, and of all that it imports from there."""
    waiting, seen = [name], {name}
    while waiting:
        each = waiting.pop()
        files = [root / f"{each}.py"] if (root / f"{each}.py").is_file() else sorted(_package(root / each))
        for file in files:
            yield file
            for other in _imported(file):
                if other not in seen and ((root / f"{other}.py").is_file() or (root / other / "__init__.py").is_file()):
                    seen.add(other)
                    waiting.append(other)


def _package(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(place) / name for name in files if not name.endswith(".pyc"))


def _imported(file: Path) -> Iterator[str]:
    """The first names of what a source file imports, at any depth; relative imports stay in the package."""
    if file.suffix != ".py":
        return
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
