"""Ports of this machine."""

from __future__ import annotations

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens on at `host`, now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
