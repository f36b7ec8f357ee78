"""Addresses of this machine, and the way to them."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens on at `host`, now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        out: int = probe.getsockname()[1]
        return out


def listens(host: str, port: int, timeout: float = 3.0) -> bool:
    """Whether anybody takes a connection there."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except (OSError, ValueError):  # ValueError: a name that nobody can have
        return False


def own_address() -> str:
    """The address of this machine under which others reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent; the kernel chooses the interface
        except OSError:  # no network at all
            return "127.0.0.1"
        out: str = probe.getsockname()[0]
        return out


LOOPBACK = ("localhost", "127.0.0.1", "::1")


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has HTTP clients of this process, and of those that it starts, reach this machine without a proxy.

    A proxy named in `http_proxy` looks for 127.0.0.1 on its own machine. What the user exempts stays exempt.

    >>> environment = {"NO_PROXY": "intra.example"}
    >>> spare_loopback(environment)
    >>> environment["no_proxy"]
    'intra.example,localhost,127.0.0.1,::1'
    """
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""  # clients read the first of the two
    names = [name.strip() for name in exempt.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in LOOPBACK if name not in names]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(names)


def talk_from(address: str) -> None:
    """Has gloo listen and call at `address` alone, under which the other nodes know this one.

    By itself it takes what the machine's own name stands for, on many systems 127.0.1.1, where no other node finds it.
    Where GLOO_SOCKET_IFNAME is set, that holds.
    """
    import psutil

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
    return dist.TCPStore(  # type: ignore[attr-defined]
        host,
        port,
        members,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=timeout),
        master_listen_fd=listener.detach(),
    )
