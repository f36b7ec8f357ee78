"""A copy of a run in storage that outlives its machine: any file system that pyarrow or fsspec can name.

    <tracking.mirror>/<run>/config.yaml  tracking/  checkpoints/step-00001200/...  mirror.json

Object stores rename nothing, so a checkpoint is copied first and counts once `mirror.json`, which is written last,
names it; only then are those removed that the run has dropped. A run killed at any moment leaves a copy to go on with:
`unlocked train --resume <tracking.mirror>/<run>`, on whichever machine.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.runs.checkpoint import Checkpoints
from unlocked.runs.folder import MODEL, keep_addresses, parse_config, read_config
from unlocked.security import redact, refuse_name, unmask

INDEX = "mirror.json"
_LOCAL = {"lock", INDEX, MODEL}  # of the run's folder, of no use elsewhere, or made of its checkpoint
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://.+")


def is_address(place: str) -> bool:
    """Whether it names storage, such as s3://bucket/runs, rather than a path."""
    return _ADDRESS.fullmatch(place) is not None


class Mirror:
    """The copy of one run."""

    def __init__(self, address: str, run_dir: Path):
        self._run, self._checkpoints = run_dir, Checkpoints(run_dir)
        self._files, root = _open("tracking.mirror", address)
        self._place = f"{root}/{run_dir.name}"
        self._there: set[str] = set()  # names of checkpoints

    @staticmethod
    def check(address: str) -> None:
        """Raises `ConfigError`, one line, if nothing can be written."""
        files, root = _open("tracking.mirror", address)
        probe = f"{root}/.unlocked"
        try:
            files.create_dir(root, recursive=True)
            with files.open_output_stream(probe):
                pass
            files.delete_file(probe)
        except Exception as error:  # every store raises its own
            why = redact(reason(error))
            raise ConfigError(f"tracking.mirror: {redact(address)} cannot be written: {why}") from None

    def push(self) -> None:
        """Copies what is new. Raises `RunFailed`, one line; what was copied before stays whole, and the next one
        catches up."""
        try:
            kept = {path.name: path for path in self._checkpoints.all()}
            for name in kept.keys() - self._there:
                self._copy(file for file in kept[name].rglob("*") if file.is_file())
            self._copy(file for file in self._run.rglob("*") if file.is_file() and not self._stays(file))
            with self._files.open_output_stream(f"{self._place}/{INDEX}") as index:
                index.write(json.dumps({"checkpoints": sorted(kept)}).encode())
            for name in self._copied() - kept.keys():
                self._files.delete_dir(f"{self._place}/checkpoints/{name}")
            self._there = set(kept)
        except Exception as error:  # every store raises its own
            raise RunFailed(f"tracking.mirror: the copy is out of date: {redact(reason(error))}") from None

    def _copied(self) -> set[str]:
        """Names of all checkpoints there, whole or not."""
        from pyarrow.fs import FileSelector, FileType

        found = self._files.get_file_info(FileSelector(f"{self._place}/checkpoints", allow_not_found=True))
        return {each.base_name for each in found if each.type == FileType.Directory}

    def _stays(self, file: Path) -> bool:
        """What is not copied with the rest: checkpoints, which are copied once, and what is of no use elsewhere."""
        parts = file.relative_to(self._run).parts
        return parts[0] in _LOCAL or (parts[0] == "checkpoints" and len(parts) > 2) or parts[-1].startswith(".")

    def _copy(self, files: Iterable[Path]) -> None:
        home = self._run.resolve()
        for file in files:
            if not file.resolve().is_relative_to(home):  # a link that came with the folder of somebody else
                continue
            there = f"{self._place}/{file.relative_to(self._run).as_posix()}"
            self._files.create_dir(there.rpartition("/")[0], recursive=True)
            with file.open("rb") as source, self._files.open_output_stream(there) as target:
                shutil.copyfileobj(source, target)


def fetch(address: str, into: Path) -> Path:
    """Brings a mirrored run into the folder `into`, to go on with; its path there.

    Raises `ConfigError` if the address names no mirrored run, its name or files lead out of their folder, or a run
    of that name is here already.
    """
    parent, _, name = address.rstrip("/").rpartition("/")
    refuse_name("--resume", name)
    files, root = _open("--resume", parent)
    place, target = f"{root}/{name}", into / name
    if target.exists():
        raise ConfigError(f"--resume: {target} is here already: resume that one, or move it away")
    try:
        with files.open_input_stream(f"{place}/{INDEX}") as index:
            whole = set(json.loads(index.read())["checkpoints"])
    except Exception as error:  # every store raises its own
        raise ConfigError(f"--resume: {redact(address)} is no mirrored run: {redact(reason(error))}") from None
    draft = into / f".{name}.fetching"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for there in _list(files, place):
            inside = PurePosixPath(there.removeprefix(place).lstrip("/"))
            if inside.is_absolute() or ".." in inside.parts:
                raise ConfigError(f"--resume: {redact(address)} holds a file that leads out of it: {inside}")
            if inside.name == INDEX or (
                inside.parts[0] == "checkpoints" and len(inside.parts) > 2 and inside.parts[1] not in whole
            ):
                continue
            (draft / inside).parent.mkdir(parents=True, exist_ok=True)
            with files.open_input_stream(there) as source, (draft / inside).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        draft.rename(target)
        if (target / "config.yaml").exists():
            given = read_config(target).get("tracking")
            keep_addresses(target, given if isinstance(given, dict) else {})  # the user has named this storage
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def mirrored_config(address: str) -> dict[str, Any]:
    """The configuration of a mirrored run; `ConfigError` if the address names none."""
    files, place = _open("--resume", address.rstrip("/"))
    try:
        with files.open_input_stream(f"{place}/config.yaml") as config:
            text = config.read().decode()
    except Exception as error:  # every store raises its own
        raise ConfigError(f"--resume: {redact(address)} is no mirrored run: {redact(reason(error))}") from None
    return parse_config(text, redact(address))


def _list(files: Any, place: str) -> list[str]:
    from pyarrow.fs import FileSelector, FileType

    return [
        each.path for each in files.get_file_info(FileSelector(place, recursive=True)) if each.type == FileType.File
    ]


def _open(key: str, address: str) -> tuple[Any, str]:
    """pyarrow's file system for an address, or fsspec's, and the path within it."""
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    address = unmask("tracking.mirror", address)
    if not is_address(address):
        raise ConfigError(
            f"{key}: {redact(address)!r} is no address of storage, such as s3://bucket/runs, gs://..., "
            "file:///mnt/shared/runs"
        )
    if address.startswith("file://") and not address.startswith("file:///"):  # would be taken as ./path by fsspec
        raise ConfigError(f"{key}: {redact(address)!r} has no absolute path; write file:///mnt/shared/runs")
    try:
        files, path = FileSystem.from_uri(address)
    except Exception:  # none of pyarrow's own
        try:
            import fsspec

            spec, path = fsspec.core.url_to_fs(address)
            files = PyFileSystem(FSSpecHandler(spec))
        except Exception as error:  # a protocol that nobody knows, or whose package is missing
            raise ConfigError(f"{key}: {redact(address)}: {redact(reason(error))}") from None
    return files, path.rstrip("/")
