"""Names and hosts as other people write them into configurations and commands."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from unlocked.errors import ConfigError
from unlocked.security.redact import redact

PORTS = range(1, 65536)
STORE_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}  # of MLflow's stores
_LONGEST_NAME = 150  # bytes; file systems take 255, and a run's folder adds scheme, seed and time
_LONGEST_SHOWN = 100  # characters of a refused address
_LOGIN = re.compile(r"^[^:/@]*(:[^@]*)?@")  # as SQLAlchemy reads it: a password may hold a slash
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_controls(text: str) -> str:
    """Somebody else's words, to be shown on a terminal: none of them moves its cursor, or gives it an order.

    >>> without_controls("a\\x1b[2Jb")
    'a [2Jb'
    """
    return _CONTROLS.sub(" ", text)


def refuse_name(key: str, name: str) -> None:
    """Raises `ConfigError` for a name that could lead to another folder: with a separator, `..`, or unprintable."""
    if len(name.encode(errors="replace")) > _LONGEST_NAME:
        raise ConfigError(
            f"{key}: {name[:20]!r}... has more than {_LONGEST_NAME} bytes; it becomes part of a folder's name"
        )
    if not name.strip() or name.strip() in (".", "..") or re.search(r"[/\\]", name) or not name.isprintable():
        raise ConfigError(
            f"{key}: {name!r} is no name: it becomes part of a folder's, so it may not be empty, '.' or "
            f"'..', nor hold '/', '\\' or unprintable characters"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; a name other than localhost could be anything.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "head.example")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_address(key: str, address: str, schemes: Sequence[str] = ("http", "https")) -> None:
    """Raises `ConfigError` for what no server can have as its address: `SCHEME://HOST[:PORT][/...]`.

    Nothing is looked up or asked. A driver may follow the scheme (`postgresql+psycopg2`).

    >>> refuse_address("--uri", "http://mlflow.example:5000")
    """
    wrong = _wrong_address(address, schemes)
    if wrong is not None:
        shown = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
        raise ConfigError(f"{key}: {_shown(address)!r} {wrong}; expected {shown}")


def refuse_store(key: str, uri: str) -> None:
    """Raises `ConfigError` for what names no store of MLflow's: an http(s) address, a database's, or SQLite's file.

    A database without a host is reached through its driver's own place, such as a socket.

    >>> refuse_store("tracking.uri", "postgresql:///runs")
    """
    scheme, _, rest = uri.partition("://")
    if scheme in ("sqlite", "sqlite+pysqlite") and rest.startswith("/") and rest.strip("/") and rest.isprintable():
        return
    if scheme.partition("+")[0] not in STORE_PORTS:
        raise ConfigError(
            f"{key}: {_shown(uri)!r} is not a tracking address; use http(s)://host:port, sqlite:///path/to/mlflow.db, "
            "postgresql://..., 'off', or null for SQLite beside the runs"
        )
    if scheme in ("http", "https"):
        refuse_address(key, uri)
    elif not (host := _LOGIN.sub("", rest)).startswith("/"):
        refuse_address(key, f"{scheme}://{host}", [scheme.partition("+")[0]])


def refuse_cluster(key: str, address: str) -> None:
    """Raises `ConfigError` for what Ray takes for no cluster: HOST:PORT, ray://HOST:PORT or auto.

    >>> refuse_cluster("parallel.address", "head.example:6379")
    """
    wrong = None if address == "auto" else _wrong_address(f"ray://{address.removeprefix('ray://')}", ["ray"])
    if wrong is None and address != "auto" and not address.rpartition(":")[2].isdigit():
        wrong = f"has no port from {PORTS[0]} to {PORTS[-1]}"
    if wrong is not None:
        raise ConfigError(f"{key}: {_shown(address)!r} {wrong}; expected HOST:PORT, ray://HOST:PORT or auto")


def refuse_place(host_key: str, host: str, port_key: str, port: int) -> None:
    """Raises `ConfigError` for a host or a port that no server can listen on."""
    if not is_host(host):
        raise ConfigError(
            f"{host_key}: {_shown(host)!r} is no host; expected a name such as head.example or an IP address"
        )
    if port not in PORTS:
        raise ConfigError(f"{port_key}: must be from {PORTS[0]} to {PORTS[-1]}, got {_shown(str(port))}")


def _shown(given: str) -> str:
    given = redact(given)
    return given if len(given) <= _LONGEST_SHOWN else f"{given[:_LONGEST_SHOWN]}..."


def _wrong_address(address: str, schemes: Sequence[str]) -> str | None:
    if not address.isprintable() or " " in address:
        return "holds a space or an unprintable character"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port above 65535 or of letters, an unfinished IPv6 address
        return f"is not an address: {error}"
    if parts.scheme.partition("+")[0] not in schemes or not address.startswith(f"{address.partition('://')[0]}://"):
        return "is not an address of this kind"
    if not host or not is_host(host):
        return "names no host"
    if (port is not None and port not in PORTS) or parts.netloc.endswith(":"):
        return f"has no port from {PORTS[0]} to {PORTS[-1]}"
    return None


def is_host(host: str) -> bool:
    """Whether `host` is an IP address, or could be the name of a machine (RFC 1123; underscores are common).

    >>> [is_host(host) for host in ("127.0.0.1", "::1", "head.example", "256.1.1.1", "two words", "-x", "")]
    [True, True, True, False, False, False, False]
    """
    try:
        ipaddress.ip_address(host.strip("[]"))
        return True
    except ValueError:
        pass
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
