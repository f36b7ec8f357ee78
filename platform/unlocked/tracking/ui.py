"""The MLflow dashboard on this machine's loopback, and nowhere else: it has no login."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from unlocked.errors import ConfigError, UnlockedError
from unlocked.tracking.compare import NO_DATABASE
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.sink import init_lock
from unlocked.tracking.uris import redact, resolve_uri, sqlite_path

_LOOPBACK = ("127.0.0.1", "localhost")


def serve(
    uri: str | Path, host: str = "127.0.0.1", port: int = 5000, say: Callable[[str], None] = print
) -> int:
    """Show the runs of `uri` (an address, or the runs root) in MLflow's dashboard until Ctrl-C.

    A tracking server's address is only told: it has a dashboard of its own.
    """
    text = str(uri)
    address = resolve_uri(text, Path()) if "://" in text else resolve_uri(None, Path(text))
    if address.startswith(("http://", "https://")):
        say(f"MLflow runs at {redact(address)}")
        return 0
    check(address, host, port)
    with init_lock(address):                      # a run may be creating the tables right now
        command = server_command(address, host, port)
    environment = {**os.environ, **MLFLOW_ENVIRONMENT, "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    url = f"http://{host}:{port}"
    say(f"starting MLflow for {redact(address)} ...")
    try:
        _wait_until_up(server, url)
        # without the word MLflow opens on language-model traces
        say(f"{url}/#/experiments?workflowType=machine_learning   (Ctrl-C ends it)")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def check(address: str, host: str, port: int) -> None:
    """Raise in one line what would go wrong: an open host, a missing database, a taken port."""
    if host not in _LOOPBACK:
        raise ConfigError(
            f"--host {host}: the dashboard has no login, so anyone who reaches it could delete runs; "
            f"use 127.0.0.1 and a tunnel (ssh -L {port}:127.0.0.1:{port} THIS_MACHINE)"
        )
    database = sqlite_path(address)
    if database is not None and not database.exists():
        raise UnlockedError(NO_DATABASE.format(database))
    if not _is_free(port):
        raise UnlockedError(f"--port {port}: already in use; port {_free_port()} is free")


def server_command(address: str, host: str, port: int) -> list[str]:
    """The `mlflow server` call: one worker, loopback, and only requests that name this very place."""
    names = [name for host in _LOOPBACK for name in (host, f"{host}:{port}")]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", ",".join(names)]
    command += ["--uvicorn-opts", "--log-level warning"]
    return [*command, "--cors-allowed-origins", ",".join(f"http://{name}:{port}" for name in _LOOPBACK)]


def _wait_until_up(server: subprocess.Popen[bytes], url: str, timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UnlockedError(f"MLflow ended with exit code {server.returncode}; its own words are above")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return
        time.sleep(0.2)
    raise UnlockedError(f"MLflow did not answer at {url} within {timeout:.0f} s")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its worker; in a session of their own, Ctrl-C prints no traceback of theirs."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=5)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
