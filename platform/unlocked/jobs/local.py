"""A Ray cluster on this machine: a head node and, for trying things out, worker nodes beside it.

Started by `ray start --block` in sessions of their own, so that they outlive the command and can be ended one by one:
`ray stop` would end every Ray of the machine, whoever started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError, RunFailed, UnlockedError
from unlocked.files import read_json, write_json
from unlocked.jobs.client import Cluster
from unlocked.launch import reaper
from unlocked.launch.private_ray import LOOPBACK
from unlocked.network import free_port, own_address
from unlocked.processes import RAY_FOLDER, identify_process, process_alive
from unlocked.security import authenticate, is_loopback, refuse_place
from unlocked.security.token import is_disabled

STARTING = 300.0  # seconds; Ray gives itself less than a busy machine needs
OBJECT_STORE = 256 * 2**20  # bytes of each node's; a run moves its messages itself


@dataclass(frozen=True)
class LocalCluster:
    address: str  # of the dashboard: jobs go there
    gcs: str  # of the head node: other nodes go there
    folder: str  # logs and sockets
    processes: list[dict[str, Any]]  # as by `identify_process`, the head's first


def record() -> Path:
    """Where the cluster that runs on this machine is written down."""
    return Path.home() / ".unlocked" / "cluster.json"


def running() -> LocalCluster | None:
    """The cluster that was started here and still has its head."""
    known = read_json(record())
    found = LocalCluster(**known) if known else None
    return found if found is not None and process_alive(found.processes[0]) else None


def up(
    workers: int = 0, cpus: int | None = None, gpus: int | None = None, host: str = "127.0.0.1", port: int = 8265
) -> LocalCluster:
    """A head node and `workers` more nodes, each of `cpus` CPUs (None: those of this machine).

    Raises `ConfigError` for a host beyond loopback without authentication, `UnlockedError` if one is running or the
    port is taken, `RunFailed` with Ray's own words if it did not start.
    """
    if (other := running()) is not None:
        raise UnlockedError(f"a cluster is running here: {other.address} (unlocked cluster status)")
    refuse_place("--host", host, "--port", port)
    if not is_loopback(host) and is_disabled():
        raise ConfigError(
            f"--host {host}: whoever reaches a cluster without a token runs code on it; unset RAY_AUTH_MODE"
        )
    for key, value, least in (("--workers", workers, 0), ("--cpus", cpus, 1), ("--gpus", gpus, 0)):
        if value is not None and value < least:
            raise ConfigError(f"{key}: must be at least {least}, got {value}")
    authenticate(create=True)
    node_ip = _node_ip(host)
    _refuse_taken(host, port)
    reaper.clear_leftovers()
    gcs, folder = f"{node_ip}:{free_port(node_ip)}", str(reaper.make_folder())
    anywhere = ["--min-worker-port=0", "--max-worker-port=0"]  # Ray's usual range may hold the dashboard's port
    common = [
        *anywhere,
        "--block",
        "--disable-usage-stats",
        f"--object-store-memory={OBJECT_STORE}",
        f"--num-cpus={cpus or os.cpu_count() or 1}",
    ]
    head = [
        "--head",
        f"--port={gcs.rpartition(':')[2]}",
        f"--dashboard-host={host}",
        f"--dashboard-port={port}",
        f"--temp-dir={folder}/0",
        f"--ray-client-server-port={free_port(node_ip)}",
    ]
    head += [f"--num-gpus={gpus}"] if gpus is not None else []
    shown = node_ip if host in ("0.0.0.0", "::") else host
    found = LocalCluster(f"http://{shown}:{port}", gcs, folder, [])
    log = Path(folder) / "ray-start.log"
    try:
        found.processes.append(_start(node_ip, [*head, *common], log))
        reaper.own(Path(folder), found.processes)
        _wait(found, log, nodes=1)
        for more in range(1, workers + 1):  # one after the other: a raylet that starts slowly gives up
            # a folder each: a node unpacks a job's project anew, and would take it from under another node's feet
            found.processes.append(_start(node_ip, [f"--address={gcs}", f"--temp-dir={folder}/{more}", *common], log))
            reaper.own(Path(folder), found.processes)
            _wait(found, log, nodes=1 + more)
        write_json(record(), asdict(found))
    except BaseException:
        _end(found)
        raise
    return found


def down() -> LocalCluster | None:
    """Ends the cluster that was started here, with all its jobs; None if there is none."""
    known = read_json(record())
    if not known:
        return None
    found = LocalCluster(**known)
    _end(found)
    record().unlink(missing_ok=True)
    return found


def _start(node_ip: str, arguments: list[str], log: Path) -> dict[str, Any]:
    """A node, in a session of its own; `python` in its jobs is this one."""
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "60",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{STARTING:.0f}",
        "RAY_enable_metrics_collection": "0",  # nobody would be asked for a token there
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        RAY_FOLDER: str(log.parent),
    }
    if is_loopback(node_ip):
        environment |= LOOPBACK
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        environment.pop(name, None)
    # a raylet waits 20 seconds for its agents to write down ports of their own choice: too short on a busy machine
    agents = (
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "runtime-env-agent-port",
        "metrics-export-port",
    )
    module = "unlocked.jobs.node" if is_loopback(node_ip) else "ray.scripts.scripts"
    command = [
        sys.executable,
        "-P",
        "-m",
        module,
        "start",
        f"--node-ip-address={node_ip}",
        *arguments,
        *(f"--{port}={free_port('0.0.0.0')}" for port in agents),
    ]
    with log.open("ab") as words:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
    return identify_process(process.pid)


def _wait(found: LocalCluster, log: Path, nodes: int) -> None:
    deadline, how = time.monotonic() + STARTING, f"within {STARTING:.0f} s"
    while time.monotonic() < deadline:
        if not all(process_alive(process) for process in found.processes):
            how = "(its own words are above)"
            break
        with contextlib.suppress(UnlockedError):
            if len(Cluster(found.address).nodes()) >= nodes:
                return
        time.sleep(0.5)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    failure = RunFailed(f"cluster up: Ray did not start {nodes} node{'s' * (nodes > 1)} {how}")
    failure.detail = tail  # type: ignore[attr-defined]
    raise failure


def _end(found: LocalCluster) -> None:
    """The nodes that are still those that were started, the head last."""
    for processes in (found.processes[1:], found.processes[:1]):
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for process in filter(process_alive, processes):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process["pid"], sign)
            deadline = time.monotonic() + 20
            while any(map(process_alive, processes)) and time.monotonic() < deadline:
                time.sleep(0.1)
    reaper.remove(Path(found.folder))


def _node_ip(host: str) -> str:
    """The address under which nodes know each other; for all interfaces (0.0.0.0), one of this machine's.

    On loopback Ray listens nowhere else (`node.py`); otherwise its internal ports are open on every interface, and the
    token alone protects them.
    """
    if is_loopback(host):
        return "127.0.0.1"
    if host not in ("0.0.0.0", "::"):
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            raise ConfigError(f"--host {host}: {error.strerror}") from None
    return own_address()


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UnlockedError(f"--port {port}: {error.strerror}; port {free_port(host)} is free") from None
