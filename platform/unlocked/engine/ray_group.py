"""A worker group of Ray actors: one module per actor, rank -> (stage, replica), tied by a process group.

Actors of one placement group start together or not at all. They meet in a `torch.distributed` store that
the first of them opens on a free port of its own, so no port is ever guessed. `worker.py` holds what runs inside
an actor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unlocked.config import to_dict
from unlocked.data import DataSet, eval_slices
from unlocked.engine.group import EVALUATION_BATCH, Group, Segment
from unlocked.engine.plan import Plan
from unlocked.engine.stage import SegmentStats
from unlocked.engine.worker import Worker
from unlocked.errors import ConfigError, DataError, RunFailed, reason

SENT = 32 * 2**20  # bytes up to which a data set is sent: a worker would spend a second on importing what reads it


class WorkerFailed(RunFailed):
    """A worker died or raised; `detail` is its own traceback. The group was ended as a whole.

    `may_pass`: the machine or the network failed, not the program, so a restart may succeed.
    """

    def __init__(self, message: str, detail: str, may_pass: bool):
        super().__init__(message)
        self.detail, self.may_pass = detail, may_pass


class RayGroup(Group):
    """The group as the driver sees it. Any failure of any worker ends it and raises `WorkerFailed`."""

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = ()):
        import ray

        self.plan, self.data, self._ray = plan, data, ray
        self._placement: Any = None
        self._workers: list[Any] = []
        start_ray(plan.workers, plan.config.parallel.address)
        bundle, backend = _resources(plan)
        self._start_workers(bundle, imports)
        host = self._get([self._workers[0].address.remote()])[0]
        port = self._get([self._workers[0].open_store.remote(host, plan.workers, plan.config.parallel.timeout)])[0]
        tree = to_dict(plan.config)
        sent = ray.put(data) if _bytes(data) <= SENT else None
        self._get([worker.prepare.remote(tree, plan, rank, (host, port), backend, sent)
                   for rank, worker in enumerate(self._workers)])

    def _start_workers(self, bundle: dict[str, float], imports: Sequence[str]) -> None:
        """One actor per rank, all of them or none."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        plan = self.plan
        self._placement = placement_group([bundle] * plan.workers, strategy="PACK")
        ready, _ = self._ray.wait([self._placement.ready()], timeout=plan.config.parallel.timeout)
        if not ready:
            self.close()
            raise RunFailed(f"parallel: no place for {plan.workers} workers of {bundle} came free within "
                            f"{plan.config.parallel.timeout:.0f} s (cluster has {_resources_text()})")
        threads = plan.config.parallel.threads or 1
        actor = self._ray.remote(Worker)
        path = [os.getcwd() if entry == "" else entry for entry in sys.path]
        for rank in range(plan.workers):
            place = PlacementGroupSchedulingStrategy(self._placement, placement_group_bundle_index=rank)
            options = actor.options(num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), max_restarts=0,
                                    scheduling_strategy=place)
            self._workers.append(options.remote(os.getcwd(), path, list(imports), threads))

    # Group -------------------------------------------------------------------------------------------

    def run(self, segments: Iterable[Segment], checkpoint_at: int) -> Iterator[list[SegmentStats]]:
        ahead: deque[list[Any]] = deque()  # a segment is queued behind the running one: no worker idles
        for start, stop in segments:
            ahead.append(self._submit("run", start, stop, checkpoint_at))
            if len(ahead) > 1:
                yield self._stats(ahead.popleft())
        while ahead:
            yield self._stats(ahead.popleft())

    def outputs(self, split: str) -> Tensor:
        column = self._column()
        refs = []
        for rows in eval_slices(len(getattr(self.data, split)), EVALUATION_BATCH):
            h = None
            for worker in column:
                h = worker.call.remote("evaluate", split, rows, h)
            refs.append(h)
        return torch.cat([out.cpu() for out in self._get(refs)])

    def probe(self) -> dict[int, float]:
        column, h = self._column(), None
        for worker in column:
            h = worker.call.remote("probe_forward", h)
        e = delta = self._get([column[-1].call.remote("probe_loss")])[0]
        cosines = {}
        for k in reversed(range(len(column))):
            below, cosine = self._get([column[k].call.remote("probe_backward", delta, e)])[0]
            if cosine is not None:
                cosines[k] = cosine
            delta = below if below is not None else delta
        return dict(sorted(cosines.items()))

    def states(self, t: int) -> list[dict[str, Any]]:
        return self._get(self._submit("state", t))

    def load_states(self, states: list[dict[str, Any]]) -> None:
        self._get([worker.call.remote("load_state", state)
                   for worker, state in zip(self._workers, states, strict=True)])

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        shared = self._ray.put(weights)
        self._get([worker.call.remote("load_weights", shared) for worker in self._workers])

    def nonfinite(self) -> tuple[int, str] | None:
        for rank, name in enumerate(self._get(self._submit("nonfinite"))):
            if name is not None:
                return rank // self.plan.config.parallel.replicas, name
        return None

    def ask(self, question: Callable[..., Any], *args: Any) -> list[Any]:
        """`question(stage, *args)` in every worker at once; the answers by rank."""
        return self._get([worker.ask.remote(question, *args) for worker in self._workers])

    def close(self) -> None:
        for worker in self._workers:
            with contextlib.suppress(Exception):  # already dead, or the cluster is gone: nothing left to end
                self._ray.kill(worker, no_restart=True)
        self._workers = []
        if self._placement is not None:
            from ray.util.placement_group import remove_placement_group

            with contextlib.suppress(Exception):
                remove_placement_group(self._placement)
            self._placement = None

    # -------------------------------------------------------------------------------------------------

    def _column(self) -> list[Any]:
        """The workers of replica 0, in the order of the stages."""
        return self._workers[::self.plan.config.parallel.replicas]

    def _submit(self, method: str, *args: Any) -> list[Any]:
        return [worker.call.remote(method, *args) for worker in self._workers]

    def _stats(self, refs: list[Any]) -> list[SegmentStats]:
        """Per stage; over replicas the losses are averaged and the times are of the slowest."""
        replicas = self.plan.config.parallel.replicas
        stats = self._get(refs)
        return [_merge(stats[k:k + replicas]) for k in range(0, len(stats), replicas)]

    def _get(self, refs: list[Any]) -> list[Any]:
        """All results; the first failure of any worker ends the group, since its peers wait for it for ever."""
        waiting = list(refs)
        while waiting:
            done, waiting = self._ray.wait(waiting, num_returns=1)
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayError as error:
                first = self._root_cause(error, waiting)
                self.close()
                raise first from None
        return self._ray.get(refs)

    def _root_cause(self, error: Exception, waiting: list[Any]) -> Exception:
        """A worker's death resets its peers' connections: prefer a death among the failures of this moment."""
        failures = [error]
        if waiting and not isinstance(error, self._ray.exceptions.ActorDiedError):
            settled, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=2.0)
            for ref in settled:
                with contextlib.suppress(Exception):
                    try:
                        self._ray.get(ref)
                    except self._ray.exceptions.RayError as other:
                        failures.append(other)
        died = [f for f in failures if isinstance(f, self._ray.exceptions.ActorDiedError)]
        chosen = died[0] if died else failures[0]
        cause = getattr(chosen, "cause", None)
        if isinstance(cause, (ConfigError, DataError)):
            return cause
        if died:
            return WorkerFailed(f"a worker died: {_last_line(str(chosen))}", str(chosen), may_pass=True)
        network = re.search(r"gloo|nccl|Connection|PeerLost|DistNetworkError|Timed out", str(chosen)) is not None
        return WorkerFailed(f"a worker failed: {_last_line(str(chosen))}", str(chosen), may_pass=network)


def start_ray(workers: int, address: str | None) -> None:
    """Connects to the cluster at `address` (or $RAY_ADDRESS), or starts a private one on this machine."""
    import ray

    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS")
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place, and a run could not be saved
    try:
        if address:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unasked
            ray.init(address="local", _node_ip_address="127.0.0.1", num_cpus=max(os.cpu_count() or 1, workers),
                     include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
                     object_store_memory=512 * 2**20)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not start here"
        raise RunFailed(f"parallel.address: {where}: {reason(error)}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _bytes(data: DataSet) -> int:
    splits = (data.train, data.validation, data.test)
    return sum(tensor.nbytes for split in splits if split is not None for tensor in (split.x, split.y))


def _resources(plan: Plan) -> tuple[dict[str, float], str]:
    """What each worker asks for, and the backend: a GPU each and nccl where there are enough."""
    import ray

    have = ray.cluster_resources()
    gpus, device = have.get("GPU", 0.0), plan.config.parallel.device
    if device == "cuda" and gpus == 0:
        raise ConfigError(f"parallel.device: cuda, but the cluster has no GPU ({_resources_text()})")
    bundle = {"CPU": 1.0}
    if gpus and device != "cpu":
        bundle["GPU"] = 1.0 if gpus >= plan.workers else int(gpus / plan.workers * 1000) / 1000
    for kind, each in bundle.items():
        if each * plan.workers > have.get(kind, 0.0):
            raise ConfigError(f"parallel: {plan.workers} workers need {each * plan.workers:g} {kind}, the cluster "
                              f"has {have.get(kind, 0.0):g} ({_resources_text()})")
    if plan.config.parallel.schedule != "locked" and bundle.get("GPU", 1.0) < 1.0:
        raise ConfigError(f"parallel.schedule: {plan.config.parallel.schedule} over GPUs needs one for each of the "
                          f"{plan.workers} workers ({_resources_text()}); parallel.device=cpu does not")
    return bundle, "nccl" if bundle.get("GPU") == 1.0 else "gloo"


def _resources_text() -> str:
    import ray

    have = ray.cluster_resources()
    return ", ".join(f"{have[kind]:g} {kind}" for kind in ("CPU", "GPU") if kind in have)


def _merge(stats: list[SegmentStats]) -> SegmentStats:
    if len(stats) == 1:
        return stats[0]
    slowest = max(stats, key=lambda s: s.seconds)
    series = {name: [sum(values) / len(stats) for values in zip(*(s.series[name] for s in stats), strict=True)]
              for name in stats[0].series}
    return SegmentStats(slowest.start, slowest.stop, slowest.seconds, sum(s.waited for s in stats) / len(stats),
                        sum(s.sent for s in stats) / len(stats), series)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


