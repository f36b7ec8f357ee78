"""Names and hosts as other people write them into configurations and commands."""

from __future__ import annotations

import ipaddress
import re

from unlocked.errors import ConfigError


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
