"""Where a data function gets its files: found in folders, downloaded if allowed, cached if generated."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.download import download
from unlocked.errors import DataError, reason
from unlocked.files import written_whole


@dataclass(frozen=True)
class DataFile:
    """A published file: its name at the mirror, its MD5 there, and other names it goes by on a disk."""

    name: str
    md5: str = ""
    also: tuple[str, ...] = ()

    def within(self, folder: Path) -> Path | None:
        return next((folder / n for n in (self.name, *self.also) if os.path.isfile(folder / n)), None)


@dataclass(frozen=True)
class Source:
    """File access as a data function gets it: the data folder `root`, and the user's leave to `download`; `seed` is
    that of the splits, `validation` the fraction of the training rows that becomes the validation split, if the set has
    none of its own."""

    name: str
    root: Path
    download: bool = False
    seed: int = 0
    validation: float = 0.0

    def find(self, files: Sequence[DataFile], folders: Iterable[str | Path]) -> list[Path] | None:
        """Paths of `files` in the first of `folders` (relative to root, or absolute) that holds them all.

        One folder for all of them, so that files of two sets with the same names are never mixed.
        """
        for folder in folders:
            paths = [path for file in files if (path := file.within(self.root / folder))]
            if len(paths) == len(files):
                return paths
        return None

    def files(
        self, files: Sequence[DataFile], folders: Sequence[str | Path], mirror: str, hint: str = ""
    ) -> list[Path]:
        """As `find`, else downloaded from `mirror` into `root/name` where the user allows it.

        Raises `DataError` that names the files, the folders searched and the two ways out; `hint` adds to it.
        """
        found = self.find(files, folders)
        if found is not None:
            return found
        home = self.root / self.name
        if not self.download:
            searched = [self.root / folder for folder in folders]
            lacking = [[file.name for file in files if not file.within(folder)] for folder in searched]
            nearest = min(range(len(searched)), key=lambda i: len(lacking[i]))
            partial = f"; {searched[nearest]} has the others" if len(lacking[nearest]) < len(files) else ""
            places = ", ".join(map(str, searched))
            raise DataError(
                f"data.name: {self.name} is not on this machine: missing "
                f"{', '.join(lacking[nearest])}{hint}{partial}; searched {places}; put the files "
                f"into {home}, or set data.download=true to fetch them from {mirror}"
            )
        url = mirror.rstrip("/")
        return [file.within(home) or download(f"{url}/{file.name}", home / file.name, file.md5) for file in files]

    def given(self, key: str, name: str, is_there: Callable[[Path], bool]) -> Path | None:
        """A path, or a name in the data folder; None if neither is there. Raises `DataError` for what no path can be,
        such as a name that is too long, or the home of nobody."""
        try:
            return next((place for place in (Path(name).expanduser(), self.root / name) if is_there(place)), None)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{key}: {name[:80]!r} cannot be looked for: {reason(error)}") from None

    def cached(self, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of `make()`, kept as `key.npz` in `root/cache`, or in the user's cache without a root.

        A copy that is damaged (its SHA-256 is inside) is made again. A cache that cannot be written is no
        error: the arrays are made each time.
        """
        places = [folder / f"{key}.npz" for folder in self.cache_folders()]
        for place in places:
            arrays = _read_cache(place)
            if arrays is not None:
                return arrays
        arrays = make()
        for place in places:
            if _write_cache(place, arrays):
                break
        return arrays

    def cache_folders(self) -> list[Path]:
        """Where what is made once is kept: in the first of them that can be written."""
        user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return [*([self.root / "cache"] if self.root.is_dir() else []), Path(user) / "unlocked"]


def _digest(arrays: dict[str, np.ndarray]) -> np.ndarray:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        digest = arrays.pop("sha256")
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, SyntaxError, zipfile.BadZipFile):
        return None
    return arrays if np.array_equal(digest, _digest(arrays)) else None


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    stored: dict[str, Any] = {**arrays, "sha256": _digest(arrays)}
    try:
        with written_whole(path) as part, part.open("xb") as out:
            np.savez(out, **stored)
    except OSError:
        return False
    return True


def inside(path: Path, folder: Path, what: str) -> Path:
    """`path`, if following its links it lies in `folder`; `what` begins the `DataError` for one that does not."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{what} is a link that leads nowhere: {reason(error)}") from None
    if not real.is_relative_to(folder.resolve()):
        raise DataError(f"{what} leads out of {folder}, to {real}: put the file itself there")
    return path
