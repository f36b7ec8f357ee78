"""Tracking addresses: the default store, absolute SQLite paths, passwords apart from them."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from unlocked.security import STORE_PORTS, refuse_store

OFF = "off"
URI_VARIABLE = "UNLOCKED_TRACKING_URI"            # hands the writer its address: `ps` shows arguments


def resolve_uri(uri: str | None, runs_root: Path) -> str:
    """The store to use: `uri`, or SQLite under the runs root when None; SQLite paths absolute.

    Raises `ConfigError` for what is no address of a store.
    """
    if uri == OFF:
        return OFF
    if uri is None:
        return f"sqlite:///{runs_root.absolute() / 'mlflow.db'}"
    refuse_store("tracking.uri", uri)
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().absolute()}"
    return uri


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


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite address, None for any other kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def artifact_root(uri: str, runs_root: Path) -> Path | None:
    """Where artifacts go when no server decides: beside the SQLite file, else under the runs root."""
    if uri.startswith(("http://", "https://")):
        return None
    database = sqlite_path(uri)
    return (database.parent if database else runs_root.absolute()) / "artifacts"


def reachable(uri: str, timeout: float = 1.0) -> bool:
    """Does anything listen at the address? A TCP connect only; SQLite is always there."""
    parts = urlsplit(uri)
    port = parts.port or STORE_PORTS.get(parts.scheme.split("+")[0])
    if parts.hostname is None or port is None:
        return True
    try:
        with socket.create_connection((parts.hostname, port), timeout=timeout):
            return True
    except OSError:
        return False
