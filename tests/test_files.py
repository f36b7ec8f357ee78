"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from unlocked.errors import RunFailed
from unlocked.files import PRIVATE, write_whole, written_whole
from unlocked.runs.folder import one_line_when_full


def test_a_reader_sees_the_old_words_or_the_new_ones(tmp_path: Path):
    path = write_whole(tmp_path / "new" / "config.yaml", "old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as part:
        part.write_text(f"half of {path.read_text()} {1 / 0}")
    assert [entry.name for entry in path.parent.iterdir()] == ["config.yaml"]
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path):
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "link").symlink_to(other)
    write_whole(tmp_path / "link", "words")
    assert other.read_text() == "kept"


def test_a_private_file_is_its_owners_alone(tmp_path: Path):
    assert write_whole(tmp_path / "secret", "words", PRIVATE).stat().st_mode & 0o077 == 0


def test_a_full_disk_is_one_line_that_names_the_file_and_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed) as failure, one_line_when_full(tmp_path):
        write_whole(tmp_path / "summary.json", "{}")
    assert str(failure.value) == (
        f"{tmp_path / 'summary.json'}: cannot be written: No space left on device; "
        f"go on with: unlocked train --resume {tmp_path}"
    )
    assert list(tmp_path.iterdir()) == []
