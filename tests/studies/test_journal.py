"""Damage in a study's journal is one line, and never another value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unlocked.errors import UnlockedError
from unlocked.studies.journal import CheckedJournal

LOGS = [{"op_code": i, "worker_id": "w", "value": 0.1 * i} for i in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "study.journal"
    CheckedJournal(str(place)).append_logs(LOGS)
    return place


def read(path: Path, start: int = 0) -> list[dict]:
    return list(CheckedJournal(str(path)).read_logs(start))


def test_what_was_written_is_read(path: Path):
    journal = CheckedJournal(str(path))
    assert list(journal.read_logs(0)) == LOGS
    journal.append_logs([{"op_code": 9}])
    assert list(journal.read_logs(4)) == [{"op_code": 9}]


@pytest.mark.parametrize("line", [0, 2, 3])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b'"op_code":', b'"op_code":1'),
        lambda text: text.replace(b"{", b"[", 1),
        lambda text: b"\377" + text[1:],
        lambda _: b"[" * 100_000,
        lambda _: b"[1]",
    ],
)
def test_damage_is_one_line_with_the_way_out(path: Path, line: int, damage):
    lines = path.read_bytes().split(b"\n")
    lines[line] = damage(lines[line])
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UnlockedError, match=re.escape(f"line {line + 1} is damaged")) as failure:
        read(path)
    assert f"keep its first {line} lines" in str(failure.value)
    path.write_bytes(b"".join(each + b"\n" for each in lines[:line]))
    assert read(path) == LOGS[:line]


def test_a_last_line_that_is_being_written_is_left_for_later(path: Path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert read(path) == LOGS[:3]


def test_a_journal_of_a_version_without_checksums_is_read(path: Path):
    path.write_bytes(b'{"op_code":0,"worker_id":"w"}\n')
    assert read(path) == [{"op_code": 0, "worker_id": "w"}]
