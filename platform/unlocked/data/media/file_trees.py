"""Files with a label each: in a folder for every class, or named by a table.

    pictures/cat/1.png              a folder for every class; files in folders of these belong to the class too
    pictures/train/cat/1.png        the same, in folders train and test, and if it is there validation
    list.csv: file,label,patient    a row for every file; paths from the folder of the table on

Hidden files and files of other kinds are passed over. Nothing outside the folder is read: not by `..`, not by a link.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlocked.data.files.source import Source, inside
from unlocked.data.splits import VALUES
from unlocked.errors import DataError

_PASSED_OVER = ("__MACOSX", "__pycache__")


@dataclass(frozen=True)
class Kind:
    """What is looked for: `named` such as "images", by the endings of their names."""

    named: str
    suffixes: tuple[str, ...]
    remedy: str = ""

    def takes(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes)


@dataclass(frozen=True, eq=False)
class Tree:
    """Files of a folder in the order of their names, the class of each, and its split if there are folders of splits;
    `others`: how many files of other kinds were passed over, by ending."""

    folder: Path
    paths: list[Path]
    labels: list[str]
    split: list[str] | None
    others: Counter[str]


def placed(source: Source, option: str, name: str) -> Path:
    """The folder or file of an option: as given, or in the data folder."""
    path = source.given(f"data.options.{option}", name, Path.exists)
    if path is None:
        raise DataError(f"data.options.{option}: {name} is not there, here or in {source.root}")
    return path


def tree(folder: Path, kind: Kind) -> Tree:
    """Raises `DataError`, one line: no classes, a class without files, a file beside the folders, a link that leads
    out."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder")
    found, others = files_in(folder, kind)
    above = {path.relative_to(folder).parts[0] for path in found} | set(_folders(folder))
    if not found:
        raise DataError(_none(folder, kind, others))
    deep = any(len(path.relative_to(folder).parts) > 2 for path in found)
    in_splits = all(name.lower() in VALUES for name in above) and (deep or len(above) > 1)
    depth = 1 + in_splits
    split: list[str] = []
    labels: list[str] = []
    for path in found:
        parts = path.relative_to(folder).parts
        if len(parts) <= depth:
            beside = folder / parts[0] if in_splits else folder
            raise DataError(
                f"{path}: lies in {beside} itself; {kind.named} lie in a folder for each class "
                f"({beside / 'CLASS' / path.name}), or a table names them (data.options.file)"
            )
        split.append(VALUES[parts[0].lower()] if in_splits else "train")
        labels.append(parts[depth - 1])
    for needed in ("train", "test") if in_splits else ():
        if needed not in split:
            raise DataError(
                f"{folder}: has folders of splits ({', '.join(sorted(above))}), and no {kind.named} in {needed}; a "
                "folder of classes alone is split by data.options.test"
            )
    _refuse_empty(folder, in_splits, found, kind)
    return Tree(folder, found, labels, split if in_splits else None, others)


def files_in(folder: Path, kind: Kind) -> tuple[list[Path], Counter[str]]:
    """All of that kind in it and in its folders, sorted by name, and how many others there are, by ending."""
    found: list[Path] = []
    others: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _counts(name))
        for name in folders:
            link = Path(place) / name
            if link.is_symlink():
                inside(link, folder, f"{link}:")
                raise DataError(f"{link}: is a link to a folder; put the files themselves there, or leave it out")
        for name in filter(_counts, names):
            path = Path(place) / name
            if not kind.takes(name):
                others[path.suffix.lower() or name] += 1
                continue
            if path.is_symlink():
                inside(path, folder, f"{path}:")
            if path.is_file():  # a pipe would be waited for
                found.append(path)
    return sorted(found), others


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _PASSED_OVER


def _folders(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and _counts(each.name))


def _none(folder: Path, kind: Kind, others: Counter[str]) -> str:
    there = ", ".join(f"{count} {ending}" for ending, count in others.most_common(3))
    remedy = f": {kind.remedy}" if there and kind.remedy else ""
    return f"{folder}: has no {kind.named} ({' '.join(kind.suffixes)})" + (f"; {there} are there{remedy}" * bool(there))


def _refuse_empty(folder: Path, in_splits: bool, found: Sequence[Path], kind: Kind) -> None:
    for top in [each for each in _folders(folder) if VALUES[each.lower()] == "train"] if in_splits else [""]:
        held = {path.relative_to(folder / top).parts[0] for path in found if path.is_relative_to(folder / top)}
        empty = [name for name in _folders(folder / top) if name not in held]
        if empty:
            raise DataError(f"{folder / top / empty[0]}: is the folder of a class, and has no {kind.named}")
