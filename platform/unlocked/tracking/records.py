"""One line of the spool: JSON that carries a checksum, and is what it says it is.

    {"t": "metrics", "step": 50, "time": 1767225600000, "values": {"train/loss": 0.7}, "crc": "9c1b3f0a"}

CRC-32 of the line without it: a flipped byte makes a record unreadable, never another number.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from unlocked.security import redact

_MARK = b', "crc": "'
_INT64 = range(-(2**63), 2**63)
STATUSES = ("FINISHED", "FAILED", "KILLED")


def seal(record: Mapping[str, Any]) -> bytes:
    """The line of a record; passwords inside addresses are removed."""
    text = json.dumps(record, default=str)
    if record["t"] != "metrics":
        text = redact(text)
    body = text.encode()
    return body[:-1] + _MARK + f'{zlib.crc32(body):08x}"}}\n'.encode()


def parse(line: bytes) -> dict[str, Any] | None:
    """One line of the spool; None when it is torn, damaged, or no record that `Recorder` writes."""
    if not line.endswith(b"\n"):
        return None
    body, mark, crc = line.rpartition(_MARK)
    if mark and crc[:8] != f"{zlib.crc32(body + b'}'):08x}".encode():
        return None
    with contextlib.suppress(ValueError, RecursionError, OverflowError):
        record = json.loads(line)
        if isinstance(record, dict) and (fits := _KINDS.get(str(record.get("t")))) is not None and fits(record):
            return record
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT64


def _is_words(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in value.values())


def _is_numbers(value: Any) -> bool:
    """Every one of which a float can hold: `float` of a longer integer raises `OverflowError`."""
    return isinstance(value, dict) and all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and isinstance(float(number), float)
        for number in value.values()
    )


_KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "spool": lambda r: isinstance(r.get("id"), str) and re.fullmatch(r"[\w-]{1,64}", r["id"]) is not None,
    "start": lambda r: (
        _is_whole(r.get("time"))
        and _is_words(r.get("params"))
        and _is_words(r.get("tags"))
        and isinstance(r.get("shown"), (list, type(None)))
        and isinstance(r.get("data"), (dict, type(None)))
    ),
    "metrics": lambda r: _is_whole(r.get("step")) and _is_whole(r.get("time")) and _is_numbers(r.get("values")),
    "artifact": lambda r: isinstance(r.get("path"), str) and isinstance(r.get("folder"), str),
    "finish": lambda r: (
        r.get("status") in STATUSES
        and isinstance(r.get("summary"), (dict, type(None)))
        and isinstance(r.get("page"), (dict, type(None)))
        and (r.get("time") is None or _is_whole(r["time"]))
    ),
}
