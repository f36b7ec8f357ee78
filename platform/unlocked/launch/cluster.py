"""Ray itself: a running cluster or a private one on this machine, and what it has to give."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from unlocked.errors import ConfigError, RunFailed, UnlockedError, reason
from unlocked.launch import private_ray
from unlocked.network import listens, own_address
from unlocked.plan.plan import Plan
from unlocked.search_path import ray_job
from unlocked.security import authenticate, is_loopback, refuse_cluster

_RAYLET = "RAY_RAYLET_PID"  # set in all that a raylet starts, a submitted job among them: that ends with its node


def start_ray(workers: int, address: str | None) -> None:
    """Connects to the cluster at `address` (or $RAY_ADDRESS), or starts a private one, which ends with this process."""
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return
    _import_ray()
    key, address = ("parallel.address", address) if address else ("RAY_ADDRESS", given_address())
    if address:
        refuse_silent(key, address)
    authenticate(create=not address)
    import ray

    _keep_stdout()
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place, and a run could not be saved
    try:
        if address:
            with private_ray.loopback() if _is_on_loopback(address) else contextlib.nullcontext():
                ray.init(address=address, job_config=ray_job(), logging_level=logging.ERROR, log_to_driver=False)
        else:
            private_ray.start(workers)
    except UnlockedError:
        raise
    except Exception as error:  # Ray's own is a bare Exception if a busy machine starts it too slowly
        where = f"no Ray cluster answers at {address}" if address else "Ray could not start here"
        raise RunFailed(f"{key if address else 'parallel.address'}: {where}: {reason(error)}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _import_ray() -> None:
    """Has Ray take this very process for the raylet to ask after, which it reads once, when it is imported.

    A process whose parent is number 1 it takes for a worker that has lost its raylet, and ends it without a word as
    soon as a raylet does not answer: a run whose terminal was closed, or that a container's first process started.
    """
    with private_ray.environment({} if _RAYLET in os.environ else {_RAYLET: str(os.getpid())}):
        import ray  # noqa: F401


def given_address() -> str | None:
    """That of $RAY_ADDRESS; None if it asks for a private Ray."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address


def refuse_silent(key: str, address: str) -> None:
    """Raises `ConfigError` for no address of a cluster, `RunFailed` if nobody listens: Ray would try for minutes."""
    refuse_cluster(key, address)
    if address == "auto":
        _refuse_nothing_here(key)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    host = host.strip("[]")
    # a node on this machine may listen at the machine's own address alone, which Ray puts in the place of loopback
    if not listens(host, int(port)) and not (is_loopback(host) and listens(own_address(), int(port))):
        raise RunFailed(f"{key}: no Ray cluster answers at {address}; start one with: unlocked cluster up")


def _refuse_nothing_here(key: str) -> None:
    """`auto`: the cluster that `ray start` wrote down on this machine, else any that runs here; Ray would try the first
    for minutes also if it has long ended."""
    from ray._private import services

    written = services.find_bootstrap_address(None)
    for found in [written] if written else sorted(services.find_gcs_addresses()):
        host, _, port = found.rpartition(":")
        if port.isdigit() and listens(host.strip("[]"), int(port)):
            return
    which = f"the last one that was started, {written}, has ended" if written else "none was started"
    raise RunFailed(f"{key}: auto: no Ray cluster runs on this machine ({which}); start one with: unlocked cluster up")


def _is_on_loopback(address: str) -> bool:
    """Whether the cluster at `address` listens on this machine's loopback alone, as `unlocked cluster up` has it do.

    Ray would look for it at the machine's own address, where any other cluster of this machine is.
    """
    host, _, port = address.rpartition(":")
    return is_loopback(host) and port.isdigit() and not listens(own_address(), int(port))


def _keep_stdout() -> None:
    """Ray prints what happens to its processes to our stdout, whatever `log_to_driver` says; we say it in one line."""
    from ray._private import worker

    printer: Any = worker
    printer.print_to_stdstream = lambda data, ignore_prefix: None


def resources(plan: Plan) -> tuple[dict[str, float], str]:
    """What each worker asks for, and the backend: a GPU each and nccl if there are enough."""
    import ray

    have = ray.cluster_resources()
    gpus, device = have.get("GPU", 0.0), plan.config.parallel.device
    if device == "cuda" and gpus == 0:
        raise ConfigError(f"parallel.device: cuda, but the cluster has no GPU ({resources_text()})")
    bundle = {"CPU": 1.0}
    if gpus and device != "cpu":
        bundle["GPU"] = 1.0 if gpus >= plan.workers else int(gpus / plan.workers * 1000) / 1000
    for kind, each in bundle.items():
        if each * plan.workers > have.get(kind, 0.0):
            raise ConfigError(
                f"parallel: {plan.workers} workers need {each * plan.workers:g} {kind}, the cluster "
                f"has {have.get(kind, 0.0):g} ({resources_text()})"
            )
    if plan.config.parallel.schedule != "locked" and bundle.get("GPU", 1.0) < 1.0:
        raise ConfigError(
            f"parallel.schedule: {plan.config.parallel.schedule} over GPUs needs one for each of the "
            f"{plan.workers} workers ({resources_text()}); parallel.device=cpu does not"
        )
    return bundle, "nccl" if bundle.get("GPU") == 1.0 else "gloo"


def bundles(plan: Plan, worker: dict[str, float]) -> tuple[list[dict[str, float]], list[int], str]:
    """What is reserved, each bundle on one node; of every rank the bundle that it is placed in; Ray's strategy.

    `parallel.place`: as few nodes as possible, as many, or all modules of a replica on one and replicas on many.
    """
    parallel = plan.config.parallel
    if parallel.place == "replicas":
        replica = {kind: each * plan.workers_per_replica for kind, each in worker.items()}
        return [replica] * parallel.replicas, [rank % parallel.replicas for rank in range(plan.workers)], "SPREAD"
    return [worker] * plan.workers, list(range(plan.workers)), parallel.place.upper()


def resources_again(plan: Plan) -> tuple[dict[str, float], str]:
    """As `resources`, for a group that ran before: waits for what a lost node had, up to `parallel.timeout` seconds.

    A node may come back, or another take its place. Raises `RunFailed` if none does.
    """
    deadline = time.monotonic() + plan.config.parallel.timeout
    while True:
        try:
            return resources(plan)
        except ConfigError as lacking:
            if time.monotonic() > deadline:
                raise RunFailed(f"{lacking}; waited {plan.config.parallel.timeout:g} s for what was lost") from None
        time.sleep(1.0)


def resources_text() -> str:
    import ray

    have = ray.cluster_resources()
    return ", ".join(f"{have[kind]:g} {kind}" for kind in ("CPU", "GPU") if kind in have)
