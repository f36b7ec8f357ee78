"""Ray's own token authentication, switched on for every cluster that is started or spoken to from here.

Ray looks for its token in $RAY_AUTH_TOKEN, in the file that $RAY_AUTH_TOKEN_PATH names, then in ~/.ray/auth_token. The
file that it writes itself can be read by every user of the machine; the one written here only by its owner. The token
travels as plain text: beyond loopback it wants a tunnel, a private network or TLS in front of it.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from unlocked.errors import UnlockedError
from unlocked.files import locked

MODE = "RAY_AUTH_MODE"  # token | disabled; Ray reads it when it is imported


def token_path() -> Path:
    """The file that holds the token, where $RAY_AUTH_TOKEN does not."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"


def authenticate(create: bool = False) -> None:
    """Has Ray ask for and show its token in this process and those it starts; to be called before Ray is imported.

    `create`: make a token if there is none: this process is about to start a cluster. Without one, a cluster that
    asks for a token will refuse, and that is reported by whoever asks it. Whoever set $RAY_AUTH_MODE has decided.
    Raises `UnlockedError` if the token's file cannot be kept to its owner.
    """
    if is_disabled():
        return
    mode = os.environ.get(MODE)
    if os.environ.get("RAY_AUTH_TOKEN"):
        os.environ[MODE] = "token"
    elif create or token_path().exists():
        ensure_secret(token_path())
        os.environ[MODE] = "token"
    if "ray._raylet" in sys.modules and mode is None and MODE in os.environ:
        sys.modules["ray._raylet"].Config.initialize("")  # it was imported, and read its settings, before


def is_disabled() -> bool:
    """Whether the user has switched Ray's authentication off."""
    return os.environ.get(MODE, "token").lower() != "token"


def ensure_secret(path: Path) -> str:
    """The secret in `path`, made if there is none; nobody but its owner may read the file.

    Raises `UnlockedError`, one line, if it cannot be written or is somebody else's.
    """
    try:
        if _is_empty(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path.with_name(f".{path.name}.lock")):  # of several processes at once the first one's stays
                if _is_empty(path):
                    _create(path, secrets.token_hex(32))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return path.read_text().strip()
    except OSError as error:
        raise UnlockedError(f"{path}: a secret must be readable by its owner alone: {error.strerror}") from None


def _is_empty(path: Path) -> bool:
    """Or absent; an empty one is of a process that was killed."""
    return not path.exists() or not path.stat().st_size


def _create(path: Path, text: str) -> None:
    """Whole from its first moment on."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
