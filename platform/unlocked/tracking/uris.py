"""Tracking addresses: the default store, absolute SQLite paths, passwords apart from them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from unlocked.network import listens
from unlocked.security import STORE_PORTS, refuse_store, unmask

NO_DATABASE = (
    "no tracking database at {}; train something first: unlocked train quickstart; or name the folder of "
    "runs: --runs DIR"
)
NOBODY = "nobody answers at {}; is the tracking server up?"
OFF = "off"
URI_VARIABLE = "UNLOCKED_TRACKING_URI"  # hands the writer its address: `ps` shows arguments
_PLAIN, _ENCODED = "sqlite:///", "sqlite+pysqlite:///"


def resolve_uri(uri: str | None, runs_root: Path) -> str:
    """The store to use: `uri`, or SQLite under the runs root when None; SQLite paths absolute.

    Raises `ConfigError` for what is no address of a store, or whose password was masked and is not in the environment.
    """
    if uri == OFF:
        return OFF
    if uri is None:
        return sqlite_uri(straight(runs_root) / "mlflow.db")
    refuse_store("tracking.uri", uri)
    uri = unmask("tracking.uri", uri)
    if (database := sqlite_path(uri)) is not None:
        query = _query(uri)
        return sqlite_uri(database.expanduser().absolute()) + (f"?{query}" if query else "")
    return uri


def straight(path: Path) -> Path:
    """An absolute path without `..`, so that one place has one name; links stay unless a `..` goes through them."""
    plain = Path(os.path.abspath(path))
    return plain if plain.resolve() == path.resolve() else path.resolve()


def is_relative(uri: str | None) -> bool:
    """Whether an address is a path that the working directory gives its meaning."""
    path = None if uri is None else sqlite_path(uri)
    return path is not None and not path.expanduser().is_absolute()


def split_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """An http(s) address without user and password, and the MLflow variables that replace them."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri, {}
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    given = {
        "MLFLOW_TRACKING_USERNAME": unquote(parts.username or ""),
        "MLFLOW_TRACKING_PASSWORD": unquote(parts.password or ""),
    }
    return bare, {name: value for name, value in given.items() if value}


def sqlite_uri(database: Path) -> str:
    """The address of a database file, whatever its folders are called.

    In a path with `%`, `?` or `#` these are encoded, which SQLAlchemy (from 2.1 on) takes back; with its driver named,
    because MLflow makes the folders of `sqlite:///PATH` itself, as they are written.

    >>> sqlite_uri(Path("/runs/mlflow.db")), sqlite_uri(Path("/what?/mlflow.db"))
    ('sqlite:////runs/mlflow.db', 'sqlite+pysqlite:////what%3F/mlflow.db')
    """
    path = str(database)
    encoded = re.sub("[%?#]", lambda sign: quote(sign[0]), path)
    return f"{_PLAIN}{path}" if encoded == path else f"{_ENCODED}{encoded}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite address, as typed or as `sqlite_uri` gives it; None for any other kind."""
    query = _query(uri)
    text = uri.removesuffix(f"?{query}") if query else uri
    if text.startswith(_ENCODED):
        return Path(unquote(text.removeprefix(_ENCODED)))
    return Path(text.removeprefix(_PLAIN)) if text.startswith(_PLAIN) else None


def _query(uri: str) -> str:
    """`timeout=5` of `sqlite:///mlflow.db?timeout=5`: options behind the file; empty if there are none."""
    found = re.search(r"\?(\w+=[^/?]*)$", uri)
    return found[1] if found else ""


def artifact_root(uri: str, runs_root: Path) -> Path | None:
    """Where artifacts go when no server decides: beside the SQLite file, else under the runs root."""
    if uri.startswith(("http://", "https://")):
        return None
    database = sqlite_path(uri)
    return (database.parent if database else runs_root.absolute()) / "artifacts"


def reachable(uri: str, timeout: float = 1.0) -> bool:
    """Does anything listen at the address? A TCP connect only; SQLite is always there."""
    try:
        parts = urlsplit(uri)
        port = parts.port or STORE_PORTS.get(parts.scheme.split("+")[0])
        if parts.hostname is None or port is None:
            return True
        return listens(parts.hostname, port, timeout)
    except ValueError:  # no port that anybody could have
        return False
