"""Names and hosts as other people write them into configurations and commands."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from unlocked.errors import ConfigError
from unlocked.security.redact import redact

PORTS = range(1, 65536)
_LONGEST_SHOWN = 100  # characters of a refused address
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def refuse_name(key: str, name: str) -> None:
    """Raises `ConfigError` for a name that could lead to another folder: with a separator, `..`, or unprintable."""
    if not name.strip() or name.strip() in (".", "..") or re.search(r"[/\\]", name) or not name.isprintable():
        raise ConfigError(f"{key}: {name!r} is no name: it becomes part of a folder's, so it may not be empty, '.' or "
                          f"'..', nor hold '/', '\\' or unprintable characters")


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
        given = redact(address)
        given = given if len(given) <= _LONGEST_SHOWN else f"{given[:_LONGEST_SHOWN]}..."
        raise ConfigError(f"{key}: {given!r} {wrong}; expected {shown}")


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
