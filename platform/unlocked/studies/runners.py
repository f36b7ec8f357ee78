"""Where trials run: one after the other in this process, or several at once in Ray actors.

Both start jobs while there is room and hand back outcomes; until then whatever a trial reports goes to the judge, in
the driver's thread. Only the driver touches the study and its tracking.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from unlocked.config import Config, from_tree, to_dict
from unlocked.config.nets import workers_of
from unlocked.engines import ENGINES, engine_of, may_be_on_ray
from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.launch import private_ray
from unlocked.launch.cluster import resources_text, start_ray
from unlocked.launch.interrupt import StopSignal
from unlocked.plugins import enter, import_path
from unlocked.studies.space import Space
from unlocked.studies.trial import Job, Judge, Outcome, run_trial
from unlocked.tasks.phases import NET
from unlocked.tracking.spawn import StudyRuns
from unlocked_models.contract.registry import MODELS

STOPPING = 60.0  # seconds in which trials that were asked to stop save themselves
SELDOM = 1.0  # seconds between two looks at, or words to, a driver that need not know at once


class Runner(Protocol):
    """Takes jobs while it has room for them."""

    limit: int  # trials at once

    def has_room(self, job: Job) -> bool: ...

    def start(self, job: Job) -> None: ...

    def next(self, judge: Judge) -> tuple[Job, Outcome]:
        """Waits until one of the trials under way has ended."""
        ...

    def close(self) -> None: ...


def make_runner(config: Config, space: Space, runs: StudyRuns, stop: StopSignal, imports: Sequence[str]) -> Runner:
    """In this process for one trial at a time, else on Ray. Raises `ConfigError` if no trial could ever start."""
    several, workers = config.sweep.concurrent > 1, most_workers(space)
    if several or workers > 1:  # a private Ray is made for the largest trial: it cannot grow
        start_ray(workers, config.parallel.address)
    return OnRay(config, runs, stop, imports) if several else Here(config, runs, stop)


def most_workers(space: Space) -> int:
    """Of any trial on Ray actors; 1 if none is."""
    if not any(map(may_be_on_ray, space.values_of("parallel.engine"))):
        return 1
    held = min(each or 1 for each in space.values_of("parallel.modules_per_worker"))
    each = max(space.values_of("parallel.modules"))
    modules = max(
        sum(max(own or each for own in space.values_of(f"nets.{net}.parallel.modules")) for net in nets or [NET])
        for nets in (MODELS.facts(name)["nets"] for name in space.values_of("model.name"))
    )
    out: int = modules // held * max(space.values_of("parallel.replicas"))
    if any(name in ENGINES and ENGINES.get(name).shares_candidates for name in space.values_of("parallel.engine")):
        out = max(out, *space.values_of("parallel.evaluators"))
    return out


class Here:
    """One trial at a time, in this process (its workers, if it has some, on Ray)."""

    limit = 1

    def __init__(self, config: Config, runs: StudyRuns, stop: StopSignal):
        here = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
        _refuse_what_fits_nowhere(config, [here], f"this machine has {here['CPU']:g} CPU and {here['GPU']:g} GPU")
        self._runs, self._stop = runs, stop
        self._job: Job | None = None

    def has_room(self, job: Job) -> bool:
        return self._job is None

    def start(self, job: Job) -> None:
        self._job = job

    def next(self, judge: Judge) -> tuple[Job, Outcome]:
        assert self._job is not None
        job, self._job = self._job, None
        return job, run_trial(job, judge, self._runs, self._stop)

    def close(self) -> None:
        pass


# on Ray ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Message:
    """`what` of the judge or of the tracking is to be called with `arguments`; `ask`: its answer is waited for."""

    what: str
    arguments: tuple[Any, ...]
    ask: int | None = None


class _Mailbox:
    """An asynchronous actor between the driver and its trials: theirs to fill, the driver's to empty."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[_Message] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._stop = asyncio.Event()

    async def tell(self, what: str, arguments: tuple[Any, ...]) -> None:
        self._inbox.put_nowait(_Message(what, arguments))

    async def ask(self, what: str, arguments: tuple[Any, ...]) -> Any:
        self._asked += 1
        number, answer = self._asked, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._inbox.put_nowait(_Message(what, arguments, number))
        return await answer

    async def answer(self, number: int, value: Any) -> None:
        waiting = self._answers.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(value)

    async def take(self) -> list[_Message]:
        """All messages, as soon as there is one."""
        found = [await self._inbox.get()]
        while not self._inbox.empty():
            found.append(self._inbox.get_nowait())
        return found

    async def stop(self) -> None:
        self._stop.set()

    async def stopped(self) -> None:
        """Returns once the driver wants all trials to save themselves and stop."""
        await self._stop.wait()


class _Trials:
    """The actor that runs trials, one after the other."""

    def __init__(self, folder: str, path: Sequence[str], imports: Sequence[str], mailbox: Any):
        enter(folder, path, imports)
        self._mailbox, self._stop = mailbox, _FarStop(mailbox)  # one for all: each waits at the mailbox for good

    def run(self, tree: dict[str, Any], job: Job, tags: dict[str, str], prunes: bool) -> Outcome:
        far = _FarJudge(self._mailbox, tags, prunes)
        return run_trial(replace(job, config=from_tree(tree)), far, far, self._stop)


class _FarJudge:
    """The judge and the tracking as a trial in another process knows them."""

    def __init__(self, mailbox: Any, tags: dict[str, str], prunes: bool):
        import ray

        self._mailbox, self._get, self.tags, self._prunes = mailbox, ray.get, tags, prunes
        self.swept: Sequence[str] = ()
        self._told = 0.0

    def begun(self, number: int, seed: int, run: str) -> None:
        self._get(self._mailbox.ask.remote("begun", (number, seed, run)))  # before its first step: a kill may come

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> bool:
        if self._prunes and value is not None:
            out: bool = self._get(self._mailbox.ask.remote("epoch", (number, epoch, epochs, value)))
            return out
        if time.monotonic() - self._told > SELDOM:  # for the display alone
            self._told = time.monotonic()
            self._mailbox.tell.remote("epoch", (number, epoch, epochs, value))
        return False

    # these are waited for: once the trial's outcome is there, all that it had to say is, too

    def note(self, number: int, text: str) -> None:
        self._get(self._mailbox.ask.remote("note", (number, text)))

    def write(self, run_dir: Path, options: Sequence[str], uri: str) -> None:
        self._get(self._mailbox.ask.remote("write", (run_dir, list(options), uri)))


class _FarStop(StopSignal):
    """Asked by the driver's mailbox, not by a signal."""

    def __init__(self, mailbox: Any):
        import ray

        self._wait, self._ref = ray.wait, mailbox.stopped.remote()
        self._looked, self._asked = time.monotonic(), False

    @property
    def asked(self) -> bool:  # type: ignore[override]
        if not self._asked and time.monotonic() - self._looked > SELDOM:  # a look takes a millisecond
            self._looked = time.monotonic()
            self._asked = bool(self._wait([self._ref], timeout=0)[0])
        return self._asked

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class OnRay:
    """Several trials at once, as many as were asked for and fit."""

    def __init__(self, config: Config, runs: StudyRuns, stop: StopSignal, imports: Sequence[str]):
        import ray

        self._ray, self._config, self._runs, self._stop, self._imports = ray, config, runs, stop, list(imports)
        self.limit = config.sweep.concurrent
        self._have = ray.cluster_resources()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        _refuse_what_fits_nowhere(
            config, nodes, f"the cluster has {resources_text()} on {len(nodes)} node{'s' * (len(nodes) > 1)}"
        )
        mailbox: Any = ray.remote(_Mailbox)
        self._mailbox = mailbox.options(num_cpus=0, max_concurrency=10_000).remote()
        self._mail = self._mailbox.take.remote()
        self._idle: dict[tuple[float, float], list[Any]] = {}  # actors by their resources
        self._running: dict[Any, tuple[Job, Any, tuple[float, float]]] = {}
        self._deadline = math.inf  # when trials that were asked to stop and have not are killed

    def has_room(self, job: Job) -> bool:
        if len(self._running) >= self.limit:
            return False
        used = [self._needs(other) for other, _, _ in self._running.values()] + [self._needs(job)]
        return all(
            sum(each[i] for each in used) <= self._have.get(kind, 0.0) + 1e-9 for i, kind in enumerate(("CPU", "GPU"))
        )

    def start(self, job: Job) -> None:
        _refuse_dead_ray()
        size = self._holds(job)
        for other, idle in self._idle.items():  # one of another size holds what this trial or its workers need
            while other != size and idle:
                self._ray.kill(idle.pop(), no_restart=True)
        idle = self._idle.setdefault(size, [])
        actor = idle.pop() if idle else self._new_actor(size)
        config = job.config
        if config.parallel.threads is None and not engine_of(config.parallel).on_workers:
            config = replace(config, parallel=replace(config.parallel, threads=max(1, int(size[0]))))
        told = replace(job, config=Config())  # the configuration travels as a plain tree
        ref = actor.run.remote(to_dict(config), told, self._runs.tags, config.sweep.pruner is not None)
        self._running[ref] = (job, actor, size)

    def next(self, judge: Judge) -> tuple[Job, Outcome]:
        while True:
            if self._stop.asked and self._deadline == math.inf:
                self._deadline = time.monotonic() + STOPPING
                self._mailbox.stop.remote()
            _refuse_dead_ray()
            done, _ = self._ray.wait([self._mail, *self._running], timeout=0.5)
            _refuse_dead_ray()  # which is not what the trials have failed by
            if self._mail in done:
                self._deliver(judge)
            ended = next((ref for ref in done if ref in self._running), None)
            if ended is not None:
                return self._end(ended)
            if time.monotonic() > self._deadline:
                ref, (job, actor, _) = next(iter(self._running.items()))
                del self._running[ref]
                self._ray.kill(actor, no_restart=True)
                return job, Outcome(interrupted=True)

    def close(self) -> None:
        if not self._ray.is_initialized():
            return
        for actor in [
            *(actor for _, actor, _ in self._running.values()),
            *(actor for idle in self._idle.values() for actor in idle),
            self._mailbox,
        ]:
            with contextlib.suppress(Exception):  # already dead, or the cluster is gone: nothing left to end
                self._ray.kill(actor, no_restart=True)

    # -------------------------------------------------------------------------------------------------

    def _deliver(self, judge: Judge) -> None:
        for message in self._ray.get(self._mail):
            receiver: Any = self._runs if message.what == "write" else judge
            value = getattr(receiver, message.what)(*message.arguments)
            if message.ask is not None:
                self._mailbox.answer.remote(message.ask, value)
        self._mail = self._mailbox.take.remote()

    def _end(self, ref: Any) -> tuple[Job, Outcome]:
        job, actor, size = self._running.pop(ref)
        try:
            outcome = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor, no_restart=True)  # if it lives, it holds what the next trial needs
            outcome = self._failed(error)
        else:
            self._idle[size].append(actor)
        return job, outcome

    def _failed(self, error: Exception) -> Outcome:
        """Of a trial that gave no outcome itself: our own code raised before it began, or its process was lost."""
        raised = isinstance(error, self._ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False)
        failure = (
            f"the trial could not start: {str(error).strip().splitlines()[-1]}"
            if raised
            else f"the process of the trial died: {reason(error)}"
        )  # the last line of a traceback is what was raised
        return Outcome(failure=failure, detail=str(error), may_pass=not raised)

    def _new_actor(self, size: tuple[float, float]) -> Any:
        return (
            self._ray.remote(_Trials)
            .options(num_cpus=size[0], num_gpus=size[1], max_restarts=0)
            .remote(os.getcwd(), import_path(), self._imports, self._mailbox)
        )

    def _holds(self, job: Job) -> tuple[float, float]:
        """CPUs and GPUs of the actor itself: nothing if the trial has workers, which ask for themselves."""
        given = self._config.sweep.resources
        return (0.0, 0.0) if engine_of(job.config.parallel).on_ray else (given.cpu, given.gpu)

    def _needs(self, job: Job) -> tuple[float, float]:
        parallel = job.config.parallel
        if not engine_of(parallel).on_ray:
            return self._holds(job)
        workers = float(workers_of(job.config))
        return workers, workers if self._have.get("GPU") and parallel.device != "cpu" else 0.0


def _refuse_dead_ray() -> None:
    """Where the private Ray is dead beneath its trials: ends what is left of it. The study can go on with another."""
    if (what := private_ray.lost()) is not None:
        private_ray.end()
        raise RunFailed(f"Ray died: {what}")


def _refuse_what_fits_nowhere(config: Config, nodes: Sequence[dict[str, float]], have: str) -> None:
    given = config.sweep.resources
    if not any(node.get("CPU", 0.0) >= given.cpu and node.get("GPU", 0.0) >= given.gpu for node in nodes):
        raise ConfigError(f"sweep.resources: no node has {given.cpu:g} CPU and {given.gpu:g} GPU for a trial ({have})")
