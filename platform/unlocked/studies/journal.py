"""A study's journal: Optuna's file of JSON lines, each with a checksum, so that a flipped byte is no other value."""

from __future__ import annotations

import json
import zlib
from collections.abc import Generator
from typing import Any

from optuna.storages.journal import JournalFileBackend

from unlocked.errors import UnlockedError


class CheckedJournal(JournalFileBackend):
    """Raises `UnlockedError`, one line, for a record that is not what was written; those without a checksum are of an
    older version, and pass."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        super().append_logs([{**log, "crc": _crc(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number = log_number_from
        try:
            for log in super().read_logs(log_number_from):
                if not isinstance(log, dict) or log.pop("crc", None) not in (None, _crc(log)):
                    raise ValueError
                number += 1
                yield log
            with open(self._file_path, "rb") as file:  # Optuna passes over a last line that is no JSON
                file.seek(self._log_number_offset[number])
                if (line := file.readline()).endswith(b"\n"):
                    json.loads(line)
        except (ValueError, RecursionError):
            raise UnlockedError(
                f"{self._file_path}: line {number + 1} is damaged; to go on with what stands before "
                f"it, keep its first {number} lines only (head -n {number})"
            ) from None


def _crc(log: dict[str, Any]) -> int:
    without = {key: value for key, value in log.items() if key != "crc"}
    return zlib.crc32(json.dumps(without, sort_keys=True).encode())
