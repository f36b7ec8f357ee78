"""Messages between the modules of several nets, wherever each is held.

A channel carries messages of one kind from one module to another, in the order of the phases' programs, which are the
same everywhere. Messages of other channels may overtake them: a module takes late ones at its lag.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unlocked.engine.edges import edges
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES
from unlocked.schemes.objective import Objective
from unlocked.tasks.phases import Phase
from unlocked_models.contract.batch import Batch

IN_FLIGHT = 4  # messages of a channel that nobody has taken yet, beside those that are taken late

Module = tuple[str, int]  # a net's name, and the module's place in it


@dataclass(frozen=True)
class Lesson:
    """What one net learns in phase `i`; `path`: the modules that its minibatch passes."""

    i: int
    phase: Phase
    learns: str
    path: tuple[Module, ...]

    @property
    def taught(self) -> list[Module]:
        return [module for module in self.path if module[0] == self.learns]

    @property
    def before(self) -> list[Module]:
        return list(self.path[: self.path.index(self.taught[0])])

    @property
    def after(self) -> list[Module]:
        return list(self.path[self.path.index(self.taught[-1]) + 1 :])


@dataclass(frozen=True)
class Channel:
    """`use`: a phase and the net that learns in it, or a purpose outside training."""

    use: tuple[str, ...]
    kind: str  # up: h; down: a gradient; feedback: what a link of the net carries; error: e; loss
    source: Module
    target: Module


def path_of(plan: Plan, nets: Sequence[str]) -> tuple[Module, ...]:
    """The modules of these nets, one after the other."""
    return tuple((net, k) for net in nets for k in range(plan.nets[net].modules))


def lessons_of(plan: Plan, phases: Sequence[Phase]) -> list[Lesson]:
    """In the order of a step."""
    return [Lesson(i, phase, net, path_of(plan, phase.path)) for i, phase in enumerate(phases) for net in phase.learns]


def channels(plan: Plan, lessons: Sequence[Lesson], outcome: Sequence[Module]) -> list[Channel]:
    """All that may be used, in the same order on every worker."""
    found = [Channel(("outcome",), "up", a, b) for a, b in pairwise(outcome)]
    for lesson in lessons:
        use = lesson.phase.name, lesson.learns
        for a, b in pairwise(lesson.path):
            found.append(Channel(use, "up", a, b))
            if b in lesson.after:
                found.append(Channel(use, "down", b, a))
        last = lesson.taught[-1]
        if lesson.after:
            found.append(Channel(use, "loss", lesson.path[-1], last))
        for edge in edges(plan.nets[lesson.learns]):
            ends = (lesson.learns, edge.source), (lesson.learns, edge.target)
            if edge.source > edge.target:
                found.append(Channel(use, "feedback", *ends))
        for a, b in pairwise(lesson.taught):
            found += [Channel(("probe", *use), "down", b, a), Channel(("probe", *use), "error", last, a)]
    return found


class Mail:
    """Of one worker: within it messages lie in queues, between workers they go through the process group."""

    def __init__(self, plan: Plan, known: Sequence[Channel], device: torch.device, shard: tuple[int, int]):
        self._dtype, self._device = DTYPES[plan.config.train.precision], device
        self._number = {channel: i for i, channel in enumerate(known)}
        replica, replicas = shard
        workers = dict(zip(path_of(plan, list(plan.nets)), plan.placement, strict=True))
        self._rank = {module: worker * replicas + replica for module, worker in workers.items()}
        backend, self._groups = dist.get_backend(), dict[Channel, Any]()
        self._through_cpu = device.type == "cuda" and backend == "gloo"
        if backend == "nccl":  # it keeps the order of messages per communicator and knows no tags
            timeout = timedelta(seconds=plan.config.parallel.timeout)
            for channel in known:
                a, b = workers[channel.source], workers[channel.target]
                for r in range(replicas if a != b else 0):
                    group = dist.new_group([a * replicas + r, b * replicas + r], timeout=timeout)
                    if r == replica:
                        self._groups[channel] = group
        self._in_flight = IN_FLIGHT + plan.lag
        self._here: dict[Channel, deque[Tensor]] = {}
        self._sent: dict[Channel, deque[tuple[Any, Tensor]]] = {}
        self._numbers: Counter[tuple[str, Channel]] = Counter()  # messages so far, to and from
        self.waited = 0.0  # seconds
        self.told: Callable[[float, float], None] | None = None  # begin and end of each wait, by the clock

    def send(self, channel: Channel, message: Tensor) -> None:
        if self._rank[channel.source] == self._rank[channel.target]:
            self._here.setdefault(channel, deque()).append(message.detach().to(self._dtype).contiguous())
            return
        message = message.detach().to(self._dtype).contiguous()
        message = message.cpu() if self._through_cpu else message.clone()
        work = dist.isend(message, self._rank[channel.target], self._groups.get(channel), self._tag("to", channel))
        sent = self._sent.setdefault(channel, deque())
        sent.append((work, message))
        if len(sent) > self._in_flight:
            with self._waiting():
                sent.popleft()[0].wait()

    def receive(self, channel: Channel, shape: tuple[int, ...]) -> Tensor:
        if self._rank[channel.source] == self._rank[channel.target]:
            return self._here[channel].popleft()
        buffer = torch.empty(shape, dtype=self._dtype, device="cpu" if self._through_cpu else self._device)
        with self._waiting():
            dist.recv(buffer, self._rank[channel.source], self._groups.get(channel), self._tag("from", channel))
        return buffer.to(self._device)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        waited = time.perf_counter() - begin
        self.waited += waited
        if self.told is not None:
            now = time.time()
            self.told(now - waited, now)

    def _tag(self, way: str, channel: Channel) -> int:
        """A message that is taken for another has another tag, of 31 bits."""
        self._numbers[way, channel] += 1
        return (self._numbers[way, channel] * len(self._number) + self._number[channel]) % 2**31


class Line:
    """A link (`engine.links`) of one boundary, by mail."""

    waited = sent = 0.0

    def __init__(self, mail: Mail, channel: Channel, shape: tuple[int, ...]):
        self._mail, self._channel, self._shape = mail, channel, shape

    def send(self, t: int, message: Tensor) -> None:
        self._mail.send(self._channel, message)

    def expect(self, start: int, stop: int) -> None: ...

    def receive(self, t: int) -> Tensor:
        return self._mail.receive(self._channel, self._shape)


class _Given(torch.autograd.Function):
    """A loss that was computed elsewhere, whose gradient at the output is e."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, loss: Tensor, e: Tensor) -> Tensor:
        ctx.save_for_backward(e)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (e,) = ctx.saved_tensors
        return gradient * e, None, None


class ThroughMail(Objective):
    """The loss through the nets after this one. Modules of theirs that this worker holds run `meanwhile`."""

    def __init__(self, mail: Mail, lesson: Lesson):
        use, last, first = (lesson.phase.name, lesson.learns), lesson.taught[-1], lesson.after[0]
        self._mail = mail
        self._up, self._down = Channel(use, "up", last, first), Channel(use, "down", first, last)
        self._loss = Channel(use, "loss", lesson.path[-1], last)
        self.meanwhile: Callable[[], None] = lambda: None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self._mail.send(self._up, output)
        self.meanwhile()
        e, loss = self._mail.receive(self._down, tuple(output.shape)), self._mail.receive(self._loss, ())
        out: Tensor = _Given.apply(output, loss, e)  # type: ignore[no-untyped-call]
        return out
