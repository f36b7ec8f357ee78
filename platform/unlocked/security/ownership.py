"""What this user wrote, told apart from what somebody else put into a run folder.

A run folder may come from a colleague or an archive, and some of its words decide what a later command does: where
records are sent, which modules are imported. Those words are signed with a key that only this user can read, and are
followed only if the signature holds. HMAC-SHA256 (RFC 2104) over the canonical JSON of the value.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from unlocked.security.token import ensure_secret

SIGNATURE = "signature"


def key_path() -> Path:
    """The file that holds this user's key; made at the first signature, readable by its owner alone."""
    return Path.home() / ".unlocked" / "key"


def sign(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, JSON-serialisable, with its signature under the key "signature".

    Raises `UnlockedError` if the key cannot be written or read.
    """
    unsigned = {key: entry for key, entry in value.items() if key != SIGNATURE}
    return {**unsigned, SIGNATURE: _digest(unsigned)}


def is_signed(value: dict[str, Any]) -> bool:
    """Whether `value` holds the signature of this user for all the rest of it."""
    given = value.get(SIGNATURE)
    if not isinstance(given, str) or not key_path().exists():
        return False
    unsigned = {key: entry for key, entry in value.items() if key != SIGNATURE}
    return hmac.compare_digest(given.encode(), _digest(unsigned).encode())


def _digest(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hmac.new(ensure_secret(key_path()).encode(), text.encode(), hashlib.sha256).hexdigest()
