"""SHA-256 of what a run will read again: flipped bytes are found when a file is loaded, not trained on.

In the format of `sha256sum`: `sha256sum --check SHA256SUMS` in a checkpoint's folder checks them without us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from unlocked.errors import RunFailed
from unlocked.files import read_regular, write_whole

SUMS = "SHA256SUMS"


def write_sums(files: Mapping[str, Path], sums: Path) -> Path:
    """Writes down the digests of files by the names they have, or will have, beside `sums`. Raises `OSError`."""
    return write_whole(sums, "".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files)))


def named(sums: Path) -> list[Path]:
    """The files whose digests were written down; none if that cannot be read."""
    try:
        return [sums.with_name(line.partition("  ")[2]) for line in read_regular(sums).splitlines()]
    except (OSError, ValueError):
        return []


def check_sums(files: Iterable[Path], sums: Path) -> None:
    """Raises `RunFailed`, naming the file, for one that is not what was written, or that nothing is known of.

    A run of a version that kept no digests has no `sums`, and passes.
    """
    files, known = list(files), {}
    for file in files:
        if file.exists() and not file.is_file():  # whoever loads it would wait for a pipe's other end
            raise RunFailed(f"{file}: not a file")
    if not sums.exists():
        return
    try:
        for line in read_regular(sums).splitlines():
            digest, _, name = line.partition("  ")
            known[name] = digest
        for file in files:
            if known.get(file.name) != _digest(file):
                raise RunFailed(f"{file}: damaged: its SHA-256 is not the one written down in {sums.name}")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise RunFailed(f"{getattr(error, 'filename', None) or sums}: cannot be read: {why}") from None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
