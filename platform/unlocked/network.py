"""Addresses of this machine."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

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


def open_store(host: str, members: int, timeout: float) -> Any:
    """A `torch.distributed` store for `members` processes on a free port of `host`; waits for none of them.

    By itself it would listen on every interface, and it asks nobody for a password.
    """
    import torch.distributed as dist

    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port = listener.getsockname()[1]
    return dist.TCPStore(host, port, members, is_master=True, wait_for_workers=False,
                         timeout=timedelta(seconds=timeout), master_listen_fd=listener.detach())
