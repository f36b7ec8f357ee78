"""Candidates of a generation over Ray workers: the group of the engine `population`.

The driver holds the learner: it asks, and tells. Each worker holds a net of its own, makes the same minibatch from
(seed, generation), and tries the candidates that it is handed, in pieces that get smaller, so all workers end at about
the same time. Trials come back under the places of their candidates: who tried them changes no number.

A worker that dies or hangs is replaced, and what it had in hand is tried again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unlocked.blame import refuse_users_fault
from unlocked.config import from_tree, to_dict
from unlocked.data import DataSet
from unlocked.data.rows import is_read
from unlocked.engine.group import InProcessGroup, WorkerFailed
from unlocked.engine.module import ModuleRunner
from unlocked.errors import ConfigError, UnlockedError
from unlocked.launch import private_ray
from unlocked.launch.answers import RAY_ALIVE, STARTING, answered, last_line, refuse_dead_ray
from unlocked.launch.cluster import resources_text, start_ray
from unlocked.launch.ray_group import SENT, RayGroup
from unlocked.plan.blocks import build_net, device_of
from unlocked.plan.plan import Plan, load_data
from unlocked.plugins import enter, import_path, pickled_whole
from unlocked.schemes import Evolution, Genome, Trial

Piece = tuple[int, int]  # candidates start..stop-1 of a generation


def pieces_of(candidates: int, workers: int) -> list[Piece]:
    """Half of the candidates in a piece for each worker, half of the rest in as many, and so on down to single ones:
    few messages, and nobody waits long for the last (factoring: Hummel, Schonberg & Flynn 1992).

    >>> pieces_of(12, 2)
    [(0, 3), (3, 6), (6, 8), (8, 10), (10, 11), (11, 12)]
    """
    found: list[Piece] = []
    start = 0
    while start < candidates:
        size = -(-(candidates - start) // (2 * workers))
        for _ in range(workers):
            stop = min(start + size, candidates)
            if start < stop:
                found.append((start, stop))
            start = stop
    return found


@dataclass
class Hand:
    """What a worker has been given: the piece that it tries, and those after it."""

    calls: deque[tuple[Any, Piece]] = field(default_factory=deque)  # answer, piece
    since: float = 0.0  # when it began with the first

    def add(self, answer: Any, piece: Piece) -> None:
        if not self.calls:
            self.since = time.monotonic()
        self.calls.append((answer, piece))

    def done(self) -> Piece:
        self.since = time.monotonic()
        return self.calls.popleft()[1]


class Evaluator:
    """The actor's class: the whole net, and the minibatches to try candidates on."""

    def __init__(self, folder: str, path: Sequence[str], imports: Sequence[str], threads: int):
        enter(folder, path, imports)
        torch.set_num_threads(threads)
        self._runner: ModuleRunner | None = None

    def prepare(self, tree: dict[str, Any], plan: Plan, data: DataSet | None) -> int:
        """Its process."""
        data = data or load_data(from_tree(tree))
        self._runner = ModuleRunner(plan, data, 0, device_of(plan), blocks=build_net(plan, range(plan.modules)))
        return os.getpid()

    def set_level(self, level: int, begin: int) -> None:
        assert self._runner is not None
        self._runner.set_level(level, begin)

    def order(self, difficulty: list[int]) -> None:
        assert self._runner is not None
        self._runner.order(difficulty)

    def tried(self, t: int, candidates: Sequence[Genome]) -> list[Trial]:
        assert self._runner is not None
        learner = self._runner.learner
        assert isinstance(learner, Evolution)
        batch = self._runner.minibatch(t)
        assert batch.x is not None
        try:
            return [learner.tried(t, candidate, batch.x, batch) for candidate in candidates]
        except BaseException as error:
            refuse_users_fault(error)
            raise


class PopulationGroup(InProcessGroup):
    """The strategy in this process, its candidates over workers."""

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = (), again: bool = False):
        super().__init__(plan, data, imports, again)
        learner = self.modules[0].learner
        assert isinstance(learner, Evolution)
        self._pool = Pool(plan, data, imports)
        learner.trying = self._pool.tried

    failure_in = staticmethod(RayGroup.failure_in)
    last_words = staticmethod(RayGroup.last_words)

    def set_level(self, data: DataSet, level: int, begin: int) -> None:
        super().set_level(data, level, begin)
        self._pool.tell_all("set_level", level, begin)

    def order(self, difficulty: list[int]) -> None:
        super().order(difficulty)
        self._pool.tell_all("order", difficulty)

    def close(self) -> None:
        self._pool.close()


class Pool:
    """The workers. `replaced`: how many have died so far."""

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str]):
        self._plan, self._imports = plan, list(imports)
        parallel = plan.config.parallel
        self._size: int = parallel.evaluators
        start_ray(self._size, parallel.address)
        import ray

        self._ray = ray
        self.replaced = 0
        self._told: dict[str, tuple[Any, ...]] = {}  # what a worker that comes later has to be told, too
        self._workers: list[Any] = []
        self._bundle = self._resources()
        small = sum(s.nbytes for s in (data.train, data.validation, data.test) if s is not None) <= SENT
        self._data = ray.put(data) if small or is_read(data.train.x) else None
        starting = [self._start() for _ in range(self._size)]
        self._workers = [worker for worker, _ in starting]
        self.pids: list[int] = self._all([ready for _, ready in starting], max(parallel.timeout, STARTING))

    def _resources(self) -> dict[str, float]:
        """Of each worker: a CPU, and a share of the GPUs if the net is to be on one."""
        have, device = self._ray.cluster_resources(), self._plan.config.parallel.device
        if have.get("CPU", 0.0) < self._size:
            raise ConfigError(
                f"parallel.evaluators: {self._size} need {self._size} CPUs, the cluster has {resources_text()}"
            )
        if device == "cuda" and not have.get("GPU"):
            raise ConfigError(f"parallel.device: cuda, but the cluster has no GPU ({resources_text()})")
        share = min(1.0, int(have.get("GPU", 0.0) / self._size * 1000) / 1000) if device != "cpu" else 0.0
        return {"num_cpus": 1.0, "num_gpus": share}

    def _start(self) -> tuple[Any, Any]:
        """A worker, and what says that it is ready."""
        threads = self._plan.config.parallel.threads or 1
        with pickled_whole(self._imports):
            actor = self._ray.remote(Evaluator).options(max_restarts=0, **self._bundle)
            worker: Any = actor.remote(os.getcwd(), import_path(), self._imports, threads)
        ready = worker.prepare.remote(to_dict(self._plan.config), self._plan, self._data)
        for method, given in self._told.items():
            getattr(worker, method).remote(*given)
        return worker, ready

    def tell_all(self, method: str, *given: Any) -> None:
        self._told[method] = given
        self._all(
            [getattr(worker, method).remote(*given) for worker in self._workers], self._plan.config.parallel.timeout
        )

    def tried(self, t: int, candidates: list[Genome]) -> list[Trial]:
        """In the order of the candidates."""
        todo = deque(pieces_of(len(candidates), self._size))
        found: dict[Piece, list[Trial]] = {}
        hands, lost = [Hand() for _ in self._workers], 0
        while todo or any(hand.calls for hand in hands):
            refuse_dead_ray()
            self._hand_out(t, candidates, todo, hands)
            done, _ = answered([answer for hand in hands for answer, _ in hand.calls])
            for i, hand in enumerate(hands):
                try:
                    while hand.calls and hand.calls[0][0] in done:
                        trials = self._ray.get(hand.calls[0][0], timeout=RAY_ALIVE)
                        found[hand.done()] = trials
                    self._refuse_overdue(hand)
                except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError) as error:
                    lost += 1
                    if lost > self._plan.config.parallel.max_failures:
                        raise WorkerFailed(
                            f"{lost} workers died at generation {t}, the last: {last_line(error)}", "", may_pass=True
                        ) from None
                    todo.extendleft(reversed([piece for _, piece in hand.calls]))
                    hands[i] = Hand()
                    self._replace(i)
                except self._ray.exceptions.RayTaskError as error:
                    cause = getattr(error, "cause", None)
                    if isinstance(cause, UnlockedError):
                        raise cause from None
                    raise WorkerFailed(f"a worker failed: {last_line(error)}", str(error), may_pass=False) from None
        return [trial for piece in sorted(found) for trial in found[piece]]

    def _hand_out(self, t: int, candidates: list[Genome], todo: deque[Piece], hands: list[Hand]) -> None:
        """Every worker has a piece, and the next one if that is not small: it need not wait until it is seen to be
        free. The last few go to whoever is free first."""
        for ahead in (0, 1):
            for worker, hand in zip(self._workers, hands, strict=True):
                if todo and len(hand.calls) == ahead and (not ahead or todo[0][1] - todo[0][0] > 1):
                    start, stop = piece = todo.popleft()
                    hand.add(worker.tried.remote(t, _together(candidates[start:stop])), piece)

    def _refuse_overdue(self, hand: Hand) -> None:
        """Raises if a worker has taken longer for a piece than it may."""
        if hand.calls and time.monotonic() - hand.since > max(self._plan.config.parallel.timeout, STARTING):
            raise self._ray.exceptions.GetTimeoutError("no answer")

    def _replace(self, i: int) -> None:
        self._end(self._workers[i])
        self.replaced += 1
        self._workers[i], ready = self._start()
        self.pids[i] = self._all([ready], STARTING)[0]

    def _all(self, refs: list[Any], seconds: float) -> list[Any]:
        """All answers; a failure of any, or none within so many `seconds`, is one of the group."""
        deadline, waiting = time.monotonic() + seconds, list(refs)
        while waiting:
            _, waiting = answered(waiting, number=len(waiting))
            if waiting and time.monotonic() > deadline:
                self.close()
                raise WorkerFailed(f"{len(waiting)} workers did not answer within {seconds:.0f} s", "", may_pass=True)
        try:
            return list(self._ray.get(refs))
        except self._ray.exceptions.RayError as error:
            self.close()
            cause = getattr(error, "cause", None)
            if isinstance(cause, UnlockedError):
                raise cause from None
            died = isinstance(error, self._ray.exceptions.RayActorError)
            raise WorkerFailed(f"a worker failed: {last_line(error)}", str(error), may_pass=died) from None

    def _end(self, worker: Any) -> None:
        with contextlib.suppress(Exception):  # already dead, or the cluster is gone
            self._ray.kill(worker, no_restart=True)

    def close(self) -> None:
        if private_ray.lost() is None and self._ray.is_initialized():
            for worker in self._workers:
                self._end(worker)
        self._workers = []


def _together(candidates: list[Genome]) -> Any:
    """One array of weights is sent in less time than an array for each candidate."""
    return np.stack(candidates) if isinstance(candidates[0], np.ndarray) else candidates
