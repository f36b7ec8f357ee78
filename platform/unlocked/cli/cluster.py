"""`unlocked cluster`: Ray on this machine, as a cluster that jobs can be submitted to."""

from __future__ import annotations

import argparse
from typing import Any

from unlocked.cli.common import add_command, check_ranges
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError
from unlocked.schema.facts import MOST_WORKERS


def add_cluster(commands: Any) -> None:
    parser = add_command(
        commands,
        "cluster",
        cluster,
        "start, end or show a Ray cluster on this machine",
        "examples:\n"
        "  unlocked cluster up                     a head node on loopback, with this machine's CPUs and GPUs\n"
        "  unlocked cluster up --workers 2         and two more nodes beside it, to try out a cluster on one machine\n"
        "  unlocked cluster status\n"
        "  unlocked cluster down                   ends it, with all its jobs\n\n"
        "On several machines: `ray up cluster/aws.yaml` and others; see the files in cluster/.\n",
        at_first="looking for a cluster",
    )
    parser.add_argument("what", choices=["up", "down", "status"])
    parser.add_argument("--workers", type=int, default=0, help="nodes beside the head (default: 0)")
    parser.add_argument("--cpus", type=int, help="CPUs of each node (default: those of this machine)")
    parser.add_argument("--gpus", type=int, help="GPUs of the head node (default: those of this machine)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond loopback always with a token")
    parser.add_argument("--port", type=int, default=8265, help="of the dashboard and of jobs (default: 8265)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")


def cluster(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import local

    if arguments.what == "down":
        ended = local.down()
        print(f"ended {ended.address}" if ended else "no cluster is running here")
        if arguments.json:
            print_json({"ended": ended.address if ended else None})
        return 0
    if arguments.what == "up":
        check_ranges(arguments, workers=(0, MOST_WORKERS), cpus=(1, MOST_WORKERS), gpus=(0, MOST_WORKERS))
        found = local.up(arguments.workers, arguments.cpus, arguments.gpus, arguments.host, arguments.port)
    else:
        running = local.running()
        if running is None:
            raise ConfigError("cluster status: none is running here; start one with: unlocked cluster up")
        found = running
    return _show(found.address, found.gcs, arguments)


def _show(address: str, gcs: str, arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster
    from unlocked.jobs.table import LIVE, WAITING, words
    from unlocked.security import token_path

    at = Cluster(address)
    nodes, jobs = at.nodes(), at.jobs()
    live, waiting = (sum(job.state in states for job in jobs) for states in (LIVE, (WAITING,)))
    print(
        f"{address}: {len(nodes)} node{'s' * (len(nodes) > 1)}, {words(at.capacity())}; {live} jobs running, "
        f"{waiting} waiting; token in {token_path()}"
    )
    if arguments.what == "up":
        print(
            f"  export RAY_API_SERVER_ADDRESS={address}\n"
            "  unlocked submit train quickstart --follow\n"
            "  unlocked cluster down\n"
            f"  runs that are started here join it with parallel.address={gcs}"
        )
    if arguments.json:
        print_json({"address": address, "gcs": gcs, "nodes": len(nodes), "running": live, "waiting": waiting})
    return 0
