"""Addresses of this machine."""

from __future__ import annotations

import os
import socket

import psutil


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens on at `host`, now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def talk_from(address: str) -> None:
    """Has gloo listen and call at `address` alone, under which the other nodes know this one.

    By itself it takes what the machine's own name stands for, on many systems 127.0.1.1, where no other node finds it.
    Where GLOO_SOCKET_IFNAME is set, that holds.
    """
    for interface, addresses in psutil.net_if_addrs().items():
        if any(each.address == address for each in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
