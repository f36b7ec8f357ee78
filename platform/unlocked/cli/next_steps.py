"""Commands that are printed to be pasted: they mean the same in any folder and any shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from unlocked.schema.keys import TrackingConfig
from unlocked.security import redact
from unlocked.tracking import resolve_uri
from unlocked.tracking.uris import OFF


def command(*words: str | Path) -> str:
    """`unlocked ...`, quoted; paths are absolute.

    >>> command("train", "--resume", Path("/srv/my runs/one"))
    "unlocked train --resume '/srv/my runs/one'"
    """
    return "unlocked " + shlex.join(str(word.absolute() if isinstance(word, Path) else word) for word in words)


def looking(tracking: TrackingConfig, *compare: str) -> str:
    """How to look at runs that are tracked there; empty if nothing is. A password is left out of an address.

    `compare`: more words for that command.
    """
    if tracking.uri == OFF:
        return ""
    uri = resolve_uri(tracking.uri, Path(tracking.runs))
    store = ["--runs", Path(tracking.runs)] if tracking.uri is None else ["--uri", redact(uri)]
    names = [word for word in compare if not word.startswith("--")]
    lines = {"compare": ["compare", *compare], "report": ["report", *names], "dashboard": ["ui"]}
    return "\n  ".join(f"{what}: {command(*words, *store)}" for what, words in lines.items())
