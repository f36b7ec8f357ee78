"""What the nodes of a cluster can do, asked from within: versions, resources, storage, tracking, the network between.

    python -m unlocked.jobs.examine '{"runs": "/mnt/shared/runs", "uri": null}'      inside a Ray job

`examine` submits that as a job and reads its last line; `findings` says what is wrong with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.jobs.client import Cluster
from unlocked.network import open_store, talk_from
from unlocked.security import redact
from unlocked.tracking.tags import versions
from unlocked.tracking.uris import reachable

PACKAGES = ("unlocked", "torch", "ray")
MARK = "unlocked-doctor: "  # before the line that a report stands in
PATIENCE = 180.0  # seconds for the whole examination
SIZE = 16 * 2**20  # bytes of a message of the collective test
ROUNDS = 5

Check = tuple[str, bool, str]  # name, whether all is well, what was found


def examine(cluster: Cluster, runs: str | None, uri: str | None) -> dict[str, Any]:
    """The report of a cluster, see `report`. Raises `UnlockedError` if the job fails or takes too long."""
    if uri is not None and redact(uri) != uri:
        raise ConfigError(
            "--uri: holds a password, which the cluster's list of jobs would show; leave it out, as no node logs in"
        )
    job = f"unlocked-doctor-{secrets.token_hex(3)}"
    question = shlex.quote(json.dumps({"runs": runs, "uri": uri}))
    with cluster.readable():
        cluster.client.submit_job(entrypoint=f"exec python -m unlocked.jobs.examine {question}", submission_id=job)
        status = cluster.wait(job, PATIENCE)
        if status is None:
            cluster.client.stop_job(job)
            raise UnlockedError(
                f"{cluster.address}: the nodes did not answer within {PATIENCE:.0f} s; `ray job logs "
                f"{job}` may tell more"
            )
        log = cluster.client.get_job_logs(job)
    lines = [line for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(MARK):
            out: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return out
    raise UnlockedError(
        f"{cluster.address}: the examination {status.lower()} (is unlocked installed on the "
        f"cluster?): {lines[-1] if lines else 'no word of it'}"
    )


def findings(report: Mapping[str, Any], mine: Mapping[str, str]) -> list[Check]:
    """A check for each node, for what they share and for the way between two of them."""
    checks: list[Check] = []
    for node in report["nodes"]:
        name = f"node {node['ip']}{' (head)' if node['head'] else ''}"
        if "error" in node:
            checks.append((name, False, node["error"]))
            continue
        wrong = [
            f"{package} {node['versions'].get(package, 'missing')} (here {have})"
            for package, have in mine.items()
            if node["versions"].get(package) != have
        ]
        wrong += [f"storage: {node['storage']}"] * bool(node["storage"])
        wrong += [f"tracking: {node['tracking']}"] * bool(node["tracking"])
        has = ", ".join(f"{count:g} {kind}" for kind, count in node["resources"].items())
        same = ", ".join(f"{package} {have}" for package, have in mine.items())
        checks.append((name, not wrong, "; ".join(wrong) or f"{has}; {same}"))
    places = {"storage": report["runs"], "tracking": report["uri"]}
    for what, place in places.items():
        if place:
            bad = sum(1 for node in report["nodes"] if "error" not in node and node[what])
            checks.append(
                (what, not bad, f"{place}: reached by {len(report['nodes']) - bad} of {len(report['nodes'])} nodes")
            )
    pair = report["pair"]
    if "error" in pair:
        checks.append(("collective", False, pair["error"]))
    else:
        where = "two nodes" if pair["apart"] else "one node: a second one had no room or there is none"
        checks.append(
            (
                "collective",
                True,
                f"{pair['backend']} all-reduce of {SIZE >> 20} MiB over {where}: "
                f"{pair['megabytes_per_second']:.0f} MB/s",
            )
        )
    return checks


# in the cluster -----------------------------------------------------------------------------------------


def report(runs: str | None, uri: str | None) -> dict[str, Any]:
    """`nodes`: versions, resources, storage and tracking of each (an empty word: all is well); `pair`: two workers."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address="auto", logging_level=logging.ERROR, log_to_driver=False)
    mark = _leave_mark(runs)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(_node)
    asked = [
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(mark, uri)
        for node in nodes
    ]
    ray.wait(asked, num_returns=len(asked), timeout=PATIENCE / 3)
    found = []
    for node, answer in zip(nodes, asked, strict=True):
        resources = {kind: node["Resources"][kind] for kind in ("CPU", "GPU") if kind in node["Resources"]}
        known = {
            "ip": node["NodeManagerAddress"],
            "head": "node:__internal_head__" in node["Resources"],
            "resources": resources,
        }
        try:
            found.append(known | ray.get(answer, timeout=0))
        except Exception as error:  # lost, silent or without our package: one line each
            found.append(known | {"error": f"does not answer: {reason(error)}"})
    if mark is not None:
        Path(mark).unlink(missing_ok=True)
    return {"nodes": found, "runs": runs, "uri": uri, "pair": _pair()}


def _leave_mark(runs: str | None) -> str | None:
    """A file that every node must see; the path alone if it cannot be written, for the nodes to say so."""
    if runs is None:
        return None
    mark = Path(runs) / f".doctor-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text("written by `unlocked doctor`")
    return str(mark)


def _node(mark: str | None, uri: str | None) -> dict[str, Any]:
    storage = tracking = ""
    if mark is not None:
        own = Path(f"{mark}-{os.getpid()}")
        try:
            own.write_text("")
            own.unlink()
            storage = "" if Path(mark).exists() else f"{own.parent} is not the head node's: it must be shared"
        except OSError as error:
            storage = f"{own.parent} cannot be written: {error.strerror}"
    if uri and not reachable(uri, timeout=3.0):
        tracking = "nobody answers"
    return {"versions": versions(PACKAGES), "storage": storage, "tracking": tracking}


class _Peer:
    """One of the two workers of the collective test."""

    def open_store(self, host: str) -> int:
        self._store = open_store(host, 2, 60.0)
        out: int = self._store.port
        return out

    def where(self) -> tuple[str, str]:
        import ray

        return ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id()

    def reduce(self, rank: int, host: str, port: int, backend: str) -> float:
        """Seconds of one all-reduce, the median of some."""
        import torch
        import torch.distributed as dist

        talk_from(self.where()[0])
        timeout = timedelta(seconds=60)
        store = self._store if rank == 0 else dist.TCPStore(host, port, 2, timeout=timeout)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=2, timeout=timeout)
        device = "cuda" if backend == "nccl" else "cpu"
        message, took = torch.ones(SIZE // 4, device=device), []
        for _ in range(ROUNDS + 1):
            begin = time.perf_counter()
            dist.all_reduce(message)
            message[0].item()  # waits for the device
            took.append(time.perf_counter() - begin)
        dist.destroy_process_group()
        return median(took[1:])


def _pair() -> dict[str, Any]:
    """An all-reduce sends and receives a message's bytes once, among two."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    gpus = ray.cluster_resources().get("GPU", 0.0) >= 2
    bundle = {"CPU": 1, "GPU": 1} if gpus else {"CPU": 1}
    group = placement_group([bundle, bundle], strategy="SPREAD")
    try:
        if not group.wait(PATIENCE / 6):
            return {"error": f"no room for two workers of {bundle}: the cluster is busy or too small"}
        actor: Any = ray.remote(_Peer)
        peers: list[Any] = [
            actor.options(
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
            ).remote()
            for rank in range(2)
        ]
        (host, first), (_, second) = ray.get([peer.where.remote() for peer in peers], timeout=PATIENCE / 3)
        port = ray.get(peers[0].open_store.remote(host), timeout=60)
        backend = "nccl" if gpus else "gloo"
        seconds = max(
            ray.get(
                [peer.reduce.remote(rank, host, port, backend) for rank, peer in enumerate(peers)], timeout=PATIENCE / 3
            )
        )
        return {"backend": backend, "apart": first != second, "megabytes_per_second": SIZE / seconds / 1e6}
    except Exception as error:  # whatever stands between two nodes is what was asked for
        return {"error": f"two workers cannot talk: {reason(error)}"}
    finally:
        remove_placement_group(group)


if __name__ == "__main__":
    from unlocked.jobs import examine as module  # under its own name: the actors' class must not come from __main__

    print(MARK + json.dumps(module.report(**json.loads(sys.argv[1]))), flush=True)
