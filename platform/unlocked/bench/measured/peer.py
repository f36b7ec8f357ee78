"""Processes beside this one: what a message between two of them costs, and how much they slow each other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch

from unlocked.bench.measured.costs import whole_chain
from unlocked.bench.measured.measure import torch_threads
from unlocked.bench.measured.solo import run_alone
from unlocked.bench.simulated.cost_model import Link
from unlocked.config import Config, from_tree, to_dict
from unlocked.engine.module import ModuleRunner
from unlocked.engine.shared import SharedReceiver, SharedSender
from unlocked.errors import RunFailed
from unlocked.plugins import import_modules

TIMEOUT = 60.0  # seconds without a word, after which the other process counts as lost
SMALL = 16  # numbers of a message that costs nothing to copy
PASSES = 5


class Peer:
    """One such process; it ends with `close`, and with this one."""

    def __init__(self, imports: Sequence[str] = ()):
        context = get_context("spawn")  # a copy of this process would hold its locks and threads
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, list(imports)), daemon=True)
        self._process.start()
        theirs.close()

    def link(self, numbers: int) -> Link:
        """Ping-pong over the engine's shared memory, in tiny messages and in ones of `numbers` fp32 numbers.

        The least of several medians, taken in turn: other programs only ever make a message slower.
        """
        numbers = max(numbers, 2**16)
        passes = [(self._ping_pong(SMALL), self._ping_pong(numbers)) for _ in range(PASSES)]
        trip, overhead = (min(small[i] for small, _ in passes) for i in range(2))
        send = min(large[1] for _, large in passes)
        copy = max(send - overhead, send / 2)  # however noisy, bytes are not free
        return Link(latency=max(trip / 2 - overhead, 0.0), overhead=overhead, bandwidth=4 * numbers / copy)

    def _ping_pong(self, numbers: int, messages: int = 100) -> tuple[float, float]:
        """Median seconds of a message's way there and back, and of sending it."""
        self._say("echo", numbers, messages)
        there, back = _connect(self._pipe, numbers)
        message, trips, sends = torch.zeros(numbers), [], []
        for t in range(messages):
            sent, begin = there.sent, time.perf_counter()
            there.send(t, message)
            back.receive(t)
            trips.append(time.perf_counter() - begin)
            sends.append(there.sent - sent)
        return median(trips), median(sends)

    @contextlib.contextmanager
    def training(self, config: Config) -> Iterator[None]:
        """The other process trains the whole network meanwhile, on one core."""
        self._say("train", to_dict(config))
        self._hear()  # its first steps are done
        try:
            yield
        finally:
            self._say("stop")
            self._hear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(("end",))
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()

    def _say(self, *words: Any) -> None:
        try:
            self._pipe.send(words)
        except OSError:
            raise RunFailed("bench scaling: the process at the other end of the link has ended") from None

    def _hear(self) -> Any:
        if not self._pipe.poll(TIMEOUT):
            raise RunFailed(f"bench scaling: the process at the other end of the link was silent for {TIMEOUT:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RunFailed("bench scaling: the process at the other end of the link has ended") from None


def contention(module: ModuleRunner, peers: Sequence[Peer], rounds: int = 5, seconds: float = 0.3) -> float:
    """What a step of the one-module `stage` takes while every peer trains the same, over what it takes alone.

    Median of the rounds, at least 1, of this thread's own time on its core: slower memory and a shared clock or core
    count, waiting for a core does not. So there must be a core for each.
    """

    def step_time(steps: int) -> float:
        begin = time.thread_time()
        run_alone(module, steps)
        return (time.thread_time() - begin) / steps

    with torch_threads(1):
        steps = max(2, round(seconds / step_time(3)))
        ratios = []
        for _ in range(rounds):
            alone = step_time(steps)
            with contextlib.ExitStack() as together:
                for peer in peers:
                    together.enter_context(peer.training(module.plan.config))
                ratios.append(step_time(steps) / alone)
        return max(1.0, median(ratios))


def _connect(pipe: Connection, numbers: int) -> tuple[SharedSender, SharedReceiver]:
    """A link each way with whoever does the same at the other end of the pipe."""
    receiver = SharedReceiver("the other process", (numbers,), torch.float32, 0, TIMEOUT)
    pipe.send(receiver.address)
    if not pipe.poll(TIMEOUT):
        raise RunFailed("bench scaling: the process at the other end of the link did not answer")
    sender = SharedSender(pipe.recv(), "the other process", (numbers,), torch.float32, TIMEOUT)
    receiver.accept()
    sender.map()
    return sender, receiver


def _serve(pipe: Connection, imports: list[str]) -> None:
    """The other process: does what it is told until its pipe closes."""
    import_modules(imports)
    torch.set_num_threads(1)
    modules: dict[str, ModuleRunner] = {}
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            word, *given = pipe.recv()
            if word == "echo":
                numbers, messages = given
                back, there = _connect(pipe, numbers)
                for t in range(messages):
                    back.send(t, there.receive(t))
            elif word == "train":
                key = repr(given)
                module = modules.get(key) or modules.setdefault(key, whole_chain(from_tree(given[0]))[0])
                run_alone(module, 2)
                pipe.send("trains")
                while not pipe.poll():
                    run_alone(module, 1)
                pipe.recv()
                pipe.send("stopped")
            else:
                return
