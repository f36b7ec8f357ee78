"""Links carry a boundary's tensors from one module to another, in the order of the minibatches.

Two kinds with one interface: a queue inside a process, and point-to-point messages of a process group
(gloo on CPUs, nccl on GPUs). Receives are posted ahead into preallocated buffers and sends are bounded in
flight, so memory is bounded and a slow module holds back the one that feeds it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

AHEAD = 2  # receives posted before they are asked for


class Outgoing(Protocol):
    """The sending end of a link."""

    waited: float  # seconds in which nothing could be sent: too many messages were on their way
    sent: float  # seconds spent in sending

    def send(self, t: int, message: Tensor) -> None: ...


class Incoming(Protocol):
    """The receiving end of a link."""

    waited: float  # seconds spent waiting for messages to come
    sent: float

    def expect(self, start: int, stop: int) -> None:
        """Messages of minibatches start..stop-1 will come."""

    def receive(self, t: int) -> Tensor:
        """The message of minibatch t; messages are taken in order."""


class Late:
    """Messages of a link that are consumed `lag` minibatches late; some may be received ahead, for a checkpoint."""

    def __init__(self, link: Incoming, lag: int):
        self.link, self.lag = link, lag
        self.pending: deque[Tensor] = deque()

    def expect(self, start: int, stop: int) -> None:
        """Ticks start..stop-1 follow."""
        self.link.expect(max(0, start - self.lag) + len(self.pending), stop)

    def take(self, t: int) -> Tensor:
        return self.pending.popleft() if self.pending else self.link.receive(t)

    def drain(self, t: int) -> list[Tensor]:
        """All that is under way after t ticks; it stays to be taken."""
        first = max(0, t - self.lag) + len(self.pending)
        self.pending.extend(self.link.receive(i).clone() for i in range(first, t))
        return list(self.pending)


class Queue:
    """A link inside one process. Messages lie in memory as another worker would get them: how a product is rounded
    depends on that."""

    def __init__(self) -> None:
        self.waited = self.sent = 0.0
        self._messages: deque[tuple[int, Tensor]] = deque()

    def send(self, t: int, message: Tensor) -> None:
        self._messages.append((t, message.contiguous()))

    def expect(self, start: int, stop: int) -> None: ...

    def receive(self, t: int) -> Tensor:
        sent_for, message = self._messages.popleft()
        assert sent_for == t, f"message of minibatch {sent_for} taken for {t}"
        return message


class SendLink:
    """The sending end over a process group. `channel = (c, C)`, one of C, keeps the links between two workers apart."""

    def __init__(
        self, peer: int, channel: tuple[int, int], group: Any = None, in_flight: int = 8, through_cpu: bool = False
    ):
        self.waited = self.sent = 0.0
        self._peer, self._channel, self._group = peer, channel, group
        self._in_flight, self._through_cpu = in_flight, through_cpu
        self._works: deque[tuple[Any, Tensor]] = deque()

    def send(self, t: int, message: Tensor) -> None:
        begin = time.perf_counter()
        message = message.detach().contiguous()
        if self._through_cpu:
            message = message.cpu()
        self._works.append((dist.isend(message, self._peer, self._group, _tag(t, self._channel)), message))
        handed = time.perf_counter()
        self.sent += handed - begin
        if len(self._works) > self._in_flight:
            self._works.popleft()[0].wait()
            self.waited += time.perf_counter() - handed


class ReceiveLink:
    """The receiving end over a process group.

    A message is a view of one of `AHEAD + keep` buffers: it holds its values until `keep` later ones were
    taken.
    """

    def __init__(
        self,
        peer: int,
        channel: tuple[int, int],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        keep: int,
        group: Any = None,
        through_cpu: bool = False,
    ):
        self.waited = self.sent = 0.0
        self._peer, self._channel, self._group = peer, channel, group
        self._device = device if through_cpu else None
        where = torch.device("cpu") if through_cpu else device
        self._buffers = deque(torch.empty(shape, dtype=dtype, device=where) for _ in range(AHEAD + keep + 1))
        self._posted: deque[tuple[int, Any, Tensor]] = deque()
        self._next: int | None = None  # the minibatch of the next receive to post
        self._stop = 0

    def expect(self, start: int, stop: int) -> None:
        if self._next is None:
            self._next = start
        self._stop = stop
        self._post()

    def receive(self, t: int) -> Tensor:
        posted_for, work, buffer = self._posted.popleft()
        assert posted_for == t, f"message of minibatch {posted_for} taken for {t}"
        begin = time.perf_counter()
        work.wait()
        self.waited += time.perf_counter() - begin
        self._post()
        return buffer if self._device is None else buffer.to(self._device)

    def _post(self) -> None:
        assert self._next is not None
        while self._next < self._stop and len(self._posted) < AHEAD:
            buffer = self._buffers.popleft()
            self._buffers.append(buffer)
            work = dist.irecv(buffer, self._peer, self._group, _tag(self._next, self._channel))
            self._posted.append((self._next, work, buffer))
            self._next += 1


def _tag(t: int, channel: tuple[int, int]) -> int:
    """A message taken for another minibatch's cannot match: gloo compares tags, which are 31 bits."""
    which, of = channel
    return (t * of + which) % 2**31
