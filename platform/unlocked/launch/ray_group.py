"""A worker group of Ray actors: rank -> (modules, replica), tied by a process group.

Actors of one placement group start together or not at all. They meet in a `torch.distributed` store that
the first of them opens on a free port of its own, so no port is ever guessed. `worker.py` holds what runs inside
an actor.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor

from unlocked.config import to_dict
from unlocked.data import DataSet, in_order
from unlocked.data.rows import is_read
from unlocked.engine.group import Group, Segment, WorkerFailed, evaluation_rows
from unlocked.engine.segments import SegmentStats
from unlocked.engine.statistics import passes
from unlocked.errors import RunFailed, UnlockedError
from unlocked.launch import private_ray
from unlocked.launch.answers import STARTING, answered, last_line, ray_died, refuse_dead_ray
from unlocked.launch.cluster import bundles, resources, resources_again, resources_text, start_ray
from unlocked.launch.pulse import Pulse, Watch
from unlocked.launch.worker import Introduction, Worker
from unlocked.plan.plan import Plan
from unlocked.plugins import import_path, pickled_whole
from unlocked.schemes import Alignment

DYING = 4.0  # seconds in which the death of a worker is known to Ray
GOING_DOWN = 10.0  # seconds that the private Ray needs to end itself, for example when an agent of it has died
SENT = 32 * 2**20  # bytes up to which a data set is sent: a worker would spend a second on importing what reads it


class RayGroup(Group):
    """The group as the driver sees it. Any failure of any worker ends it and raises `WorkerFailed`."""

    worker: ClassVar[type[Worker]] = Worker

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = (), again: bool = False):
        start_ray(plan.workers, plan.config.parallel.address)
        import ray  # not before

        self.plan, self.data, self._ray = plan, data, ray
        self._placement: Any = None
        self._workers: list[Any] = []
        self._who: list[Introduction] = []
        self._watch = Watch([], b"", plan.config.parallel.timeout)
        self._last_with_statistics: int | None = None  # module; None: not asked yet
        bundle, backend = resources_again(plan) if again else resources(plan)
        self._start_workers(bundle, imports)
        self._meet()
        host = self._who[0].host
        port = self._get([self._workers[0].open_store.remote(host, plan.workers, plan.config.parallel.timeout)])[0]
        tree = to_dict(plan.config)
        refuse_dead_ray()
        sent = ray.put(data) if _bytes(data) <= SENT or is_read(data.train.x) else None  # of rows to read, paths travel
        self._get(
            [
                worker.prepare.remote(tree, plan, rank, (host, port), backend, sent)
                for rank, worker in enumerate(self._workers)
            ]
        )

    def _start_workers(self, bundle: dict[str, float], imports: Sequence[str]) -> None:
        """One actor per rank, all of them or none."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        plan = self.plan
        reserved, places, strategy = bundles(plan, bundle)
        self._placement = placement_group(reserved, strategy=strategy)
        ready, _ = self._ray.wait([self._placement.ready()], timeout=plan.config.parallel.timeout)
        if not ready:
            self.close()
            raise RunFailed(
                f"parallel: no place for {plan.workers} workers ({plan.config.parallel.place}: {reserved}) "
                f"came free within {plan.config.parallel.timeout:.0f} s (cluster has {resources_text()})"
            )
        threads = plan.config.parallel.threads or 1
        actor = self._ray.remote(self.worker)
        with pickled_whole(imports):
            for rank in range(plan.workers):
                place = PlacementGroupSchedulingStrategy(self._placement, placement_group_bundle_index=places[rank])
                options = actor.options(
                    num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), max_restarts=0, scheduling_strategy=place
                )
                self._workers.append(options.remote(os.getcwd(), import_path(), list(imports), threads))

    def _meet(self) -> None:
        """Waits until every worker is up; from then on they are watched."""
        secret, limit = secrets.token_bytes(32), self.plan.config.parallel.timeout
        refs = [worker.introduce.remote(secret) for worker in self._workers]
        refuse_dead_ray()
        up, late = self._ray.wait(refs, num_returns=len(refs), timeout=max(limit, STARTING))
        self._get(up)  # one that could not start says why
        if late:
            self.close()
            raise WorkerFailed(
                f"{len(late)} of {len(refs)} workers did not start within {max(limit, STARTING):.0f} s",
                "",
                may_pass=True,
            )
        self._who = self._get(refs)
        self._watch = Watch([worker.pulse for worker in self._who], secret, limit)

    # Group -------------------------------------------------------------------------------------------

    @staticmethod
    def failure_in(error: Exception) -> WorkerFailed | None:
        return error if isinstance(error, WorkerFailed) else ray_died()  # of which it may only be a consequence

    @staticmethod
    def last_words(text: str) -> None:
        private_ray.last_words(text)

    def run(self, segments: Iterable[Segment], checkpoint_at: int) -> Iterator[list[SegmentStats]]:
        ahead: deque[list[Any]] = deque()  # a segment is queued behind the running one: no worker idles
        for start, stop in segments:
            ahead.append([worker.run.remote(start, stop, checkpoint_at) for worker in self._workers])
            if len(ahead) > 1:
                yield self._stats(ahead.popleft())
        while ahead:
            yield self._stats(ahead.popleft())

    def estimate_statistics(self, t: int) -> None:
        replicas = self.plan.config.parallel.replicas
        if self._last_with_statistics is None:
            has = self._get([worker.call.remote(slot, "has_statistics") for worker, slot in self._first_replica()])
            self._last_with_statistics = max((k for k, it in enumerate(has) if it), default=0)
        if not self._last_with_statistics:
            return
        learners = self._learners()[: (self._last_with_statistics + 1) * replicas]
        refs = []
        for steps, nth in passes(self.plan, t):
            for replica in range(replicas):  # each on its own part of the minibatches, as in training
                hs = None
                for k, (worker, slot) in enumerate(learners[replica::replicas]):
                    hs = worker.call.remote(slot, "estimate", steps, nth, hs, k < self._last_with_statistics)
                refs.append(hs)
            self._get(refs[:-replicas])  # no more than two pieces are held
            refs = refs[-replicas:]
        self._get(refs + [worker.call.remote(slot, "average_statistics") for worker, slot in learners])

    def outputs(self, split: str) -> Tensor:
        chain, refs = self._first_replica(), []
        each = evaluation_rows(self.plan, self.data, split)
        for rows, fresh in each:
            h = None
            for worker, slot in chain:
                h = worker.call.remote(slot, "evaluate", split, rows, fresh, h)
            refs.append(h)
        return in_order(each, [out.cpu() for out in self._get(refs)])

    def probe(self) -> dict[int, Alignment]:
        chain, h = self._first_replica(), None
        for worker, slot in chain:
            h = worker.call.remote(slot, "probe_forward", h)
        self._get([h])  # what failed on the way up, before a loss of what was probed last
        worker, slot = chain[-1]
        delta, e = self._get([worker.call.remote(slot, "probe_loss")])[0]
        found = {}
        for k, (worker, slot) in reversed(list(enumerate(chain))):
            below, alignment = self._get([worker.call.remote(slot, "probe_backward", delta, e)])[0]
            if alignment is not None:
                found[k] = alignment
            delta = below if below is not None else delta
        return dict(sorted(found.items()))

    def states(self, t: int) -> list[dict[str, Any]]:
        return self._get(self._submit("state", t))

    def load_states(self, states: list[dict[str, Any]]) -> None:
        self._get(
            [
                worker.call.remote(slot, "load_state", state)
                for (worker, slot), state in zip(self._learners(), states, strict=True)
            ]
        )

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        refuse_dead_ray()
        self._get(self._submit("load_weights", self._ray.put(weights)))

    def nonfinite(self) -> tuple[int, str] | None:
        for i, name in enumerate(self._get(self._submit("nonfinite"))):
            if name is not None:
                return i // self.plan.config.parallel.replicas, name
        return None

    def ask(self, question: Callable[..., Any], *args: Any) -> list[Any]:
        """`question(stage, *args)` of every module and replica at once; the answers in the order of `states`."""
        return self._get([worker.ask.remote(slot, question, *args) for worker, slot in self._learners()])

    def close(self) -> None:
        if ray_died() is not None or not self._ray.is_initialized():
            self._workers, self._placement = [], None  # they went with it
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

    def _places(self) -> list[tuple[int, int]]:
        """(rank, slot) of every module and replica, module by module: which worker, and which of its modules."""
        plan, replicas = self.plan, self.plan.config.parallel.replicas
        return [
            (worker * replicas + replica, plan.held_by(worker).index(module))
            for module, worker in enumerate(plan.placement)
            for replica in range(replicas)
        ]

    def _learners(self) -> list[tuple[Any, int]]:
        return [(self._workers[rank], slot) for rank, slot in self._places()]

    def set_level(self, data: DataSet, level: int, begin: int) -> None:
        self.data = data
        self._get(self._submit("set_level", level, begin))

    def scale_rates(self, factor: float) -> None:
        self._get(self._submit("scale_rates", factor))

    def order(self, difficulty: list[int]) -> None:
        self._get(self._submit("order", self._ray.put(difficulty)))

    def _first_replica(self) -> list[tuple[Any, int]]:
        """In the order of the modules."""
        return self._learners()[:: self.plan.config.parallel.replicas]

    def _submit(self, method: str, *args: Any) -> list[Any]:
        return [worker.call.remote(slot, method, *args) for worker, slot in self._learners()]

    def _stats(self, refs: list[Any]) -> list[SegmentStats]:
        """Per module; over replicas the losses are averaged and the times are of the slowest."""
        replicas, of_workers = self.plan.config.parallel.replicas, self._get(refs)
        stats = [of_workers[rank][slot] for rank, slot in self._places()]
        return [_merge(stats[k : k + replicas]) for k in range(0, len(stats), replicas)]

    def _get(self, refs: list[Any]) -> list[Any]:
        """All results; the first failure of any worker ends the group, since its peers wait for it in vain."""
        waiting, watched = list(refs), time.monotonic()
        self._watch.begin()
        while waiting:
            done, waiting = answered(waiting, self._watch.interval)
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayError as error:
                first = ray_died() or self._root_cause(error, waiting)
                self.close()
                raise first from None
            if not done and time.monotonic() - watched >= self._watch.interval:
                watched = time.monotonic()
                if (hung := self._watch.look()) is not None:
                    self.close()
                    raise self._hangs(*hung)
        return self._ray.get(refs)

    def _root_cause(self, error: Exception, waiting: list[Any]) -> Exception:
        """Who fails or falls silent fails its peers: a death, then a hang, comes before the failures of this moment.

        A worker's death shows in the results of others too, or not at all yet: all are asked whether they live.
        """
        raised = isinstance(error, self._ray.exceptions.RayTaskError)  # by the worker's own code
        network = not raised or re.search(r"gloo|nccl|Connection|PeerLost|DistNetworkError|Timed out", str(error))
        failures, deadline = [error], time.monotonic() + (DYING if network else DYING / 2)
        asked = [*waiting, *(worker.__ray_ready__.remote() for worker in self._workers)]
        while asked and time.monotonic() < deadline and not any(map(self._is_known_death, failures)):
            settled, asked = self._ray.wait(asked, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            for ref in settled:
                try:
                    self._ray.get(ref, timeout=DYING)
                except self._ray.exceptions.RayError as other:
                    failures.append(other)
        died = sorted(self._deaths(failures), key=lambda death: self._rank(death) is None)
        if died:
            why = str(died[0])
            if "owner has died" in why and (beneath := _wait_for(ray_died, GOING_DOWN)) is not None:
                return beneath  # we are the owner, and live: Ray ends itself, its workers first
            return WorkerFailed(
                f"a worker died: {self._name(self._rank(died[0]))}: {last_line(why)}",
                why,
                may_pass="error raised in its creation task" not in why,
            )
        for failure in failures:  # its own words are the whole story
            cause = getattr(failure, "cause", None)
            if isinstance(cause, UnlockedError):
                return cause
        if network and (hung := self._watch.blame()) is not None:
            return self._hangs(*hung)
        return WorkerFailed(f"a worker failed: {last_line(error)}", str(error), may_pass=bool(network))

    def _is_known_death(self, failure: Exception) -> bool:
        return isinstance(failure, self._ray.exceptions.ActorDiedError) and self._rank(failure) is not None

    def _deaths(self, failures: Iterable[Exception]) -> list[Exception]:
        """Those of a process, also where a task failed because what it needed was lost with one."""
        found: list[Exception] = []
        for failure in failures:
            while isinstance(failure, self._ray.exceptions.RayTaskError) and isinstance(failure.cause, Exception):
                failure = failure.cause
            if isinstance(failure, self._ray.exceptions.ActorDiedError):
                found.append(failure)
        return found

    def _hangs(self, rank: int, pulse: Pulse | None) -> WorkerFailed:
        does = "does not answer" if pulse is None else f"made no progress at minibatch {pulse.step}"
        limit = self.plan.config.parallel.timeout
        return WorkerFailed(
            f"a worker hangs: {self._name(rank)} {does}; parallel.timeout is {limit:g} s",
            pulse.stack if pulse is not None else "",
            may_pass=True,
        )

    def _rank(self, death: Any) -> int | None:
        """Of the worker that died."""
        ids, dead = [worker._actor_id.hex() for worker in self._workers], getattr(death, "actor_id", None)
        return ids.index(dead) if dead in ids else None

    def _name(self, rank: int | None) -> str:
        """For example `module 1 (process 4242 on 127.0.0.1)`."""
        if rank is None:
            return "one of them"
        replicas = self.plan.config.parallel.replicas
        held = self.plan.held_by(rank // replicas)
        name = f"module{'s' * (len(held) > 1)} " + " and ".join(map(str, held))
        name += f" of replica {rank % replicas}" if replicas > 1 else ""
        return name + (f" (process {self._who[rank].pid} on {self._who[rank].host})" if self._who else "")


def _wait_for(look: Callable[[], WorkerFailed | None], seconds: float) -> WorkerFailed | None:
    deadline = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _bytes(data: DataSet) -> int:
    return sum(split.nbytes for split in (data.train, data.validation, data.test) if split is not None)


def _merge(stats: list[SegmentStats]) -> SegmentStats:
    if len(stats) == 1:
        return stats[0]
    slowest = max(stats, key=lambda s: s.seconds)
    series = {
        name: _mean([s.series[name] for s in stats if name in s.series])
        for name in dict.fromkeys(name for s in stats for name in s.series)
    }
    n = len(stats)
    return SegmentStats(
        slowest.start,
        slowest.stop,
        slowest.seconds,
        waited=sum(s.waited for s in stats) / n,
        sent=sum(s.sent for s in stats) / n,
        sg=sum(s.sg for s in stats) / n,
        series=series,
        others=sum(s.others for s in stats) / n,
        spans=stats[0].spans,  # of the first replica
    )


def _mean(of_replicas: list[list[float]]) -> list[float]:
    """Step by step; of numbers that do not belong together, as when a scheme records now and then, all of them."""
    if len({len(values) for values in of_replicas}) > 1:
        return [value for values in of_replicas for value in values]
    return [sum(values) / len(values) for values in zip(*of_replicas, strict=True)]
