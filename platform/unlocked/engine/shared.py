"""Links between workers of one machine: tensors through shared memory, a socket to say when.

The receiver owns a ring of slots in an anonymous memory file and hands it to the sender over a Unix socket without
a file, so nothing is left in the file system when either dies. A message is one copy into a slot and 8 bytes on the
socket, which carry the number of its minibatch; one byte back frees a slot. The sender waits when no slot is free, so
memory is bounded and a slow module holds back the one that feeds it. A peer that dies closes the socket: the other
side notices at once instead of waiting for a timeout.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import time
from collections import deque

import torch
from torch import Tensor

from unlocked.engine.links import AHEAD

_TICK = struct.Struct("<q")
_CREDENTIALS = struct.Struct("3i")  # of the process at the other end: pid, uid, gid
_PAGE = mmap.PAGESIZE


class PeerLost(ConnectionError):
    """The worker at the other end of a link is gone or silent."""


class SharedReceiver:
    """The receiving end; made first, its `address` is where the sender connects.

    A message is a view of its slot: it holds its values until `keep` later ones were taken. `ahead` messages that
    nobody has taken find room.
    """

    def __init__(
        self,
        peer: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        keep: int,
        timeout: float,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        ahead: int = AHEAD,
    ):
        self.waited = self.sent = 0.0
        self._peer, self._timeout, self._keep, self._device = peer, timeout, keep, device
        size = torch.Size(shape).numel() * torch.empty((), dtype=dtype).element_size()
        self._stride = -(-size // _PAGE) * _PAGE
        self._memory = os.memfd_create("unlocked", os.MFD_CLOEXEC)
        count = ahead + keep + 1
        os.ftruncate(self._memory, self._stride * count)
        self._slots = _slots(self._memory, self._stride, count, shape, dtype)
        self._taken: deque[int] = deque()  # slots whose message may still be read
        self._next = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("")  # the kernel chooses a free name, which is none in the file system: "\0..."
        self.address: str = self._listener.getsockname()[1:].decode()
        self._listener.listen(1)
        self._socket: socket.socket | None = None

    def accept(self) -> None:
        """Waits for the sender, gives it the memory, and gives the address up."""
        self._listener.settimeout(self._timeout)
        try:
            with self._listener:
                self._socket = self._accept_own()
        except TimeoutError:
            raise PeerLost(f"{self._peer} did not connect within {self._timeout:.0f} s") from None
        self._socket.settimeout(self._timeout)
        socket.send_fds(self._socket, [_TICK.pack(len(self._slots))], [self._memory])
        os.close(self._memory)

    def _accept_own(self) -> socket.socket:
        """A connection from this user; such an address has no mode that would keep others out."""
        while True:
            came, _ = self._listener.accept()
            _, uid, _ = _CREDENTIALS.unpack(came.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            if uid == os.getuid():
                return came
            came.close()

    def expect(self, start: int, stop: int) -> None: ...

    def receive(self, t: int) -> Tensor:
        assert self._socket is not None
        begin = time.perf_counter()
        came = _TICK.unpack(_read(self._socket, _TICK.size, self._peer, self._timeout, t))[0]
        self.waited += time.perf_counter() - begin
        assert came == t, f"message of minibatch {came} taken for {t}"
        slot, self._next = self._next, (self._next + 1) % len(self._slots)
        self._taken.append(slot)
        if len(self._taken) > self._keep + 1:
            self._taken.popleft()
            with contextlib.suppress(OSError):  # the sender has ended: it needs no more room
                self._socket.send(b"f")
        return self._slots[slot] if self._device.type == "cpu" else self._slots[slot].to(self._device)


class SharedSender:
    """The sending end: connects at once; `map` takes the memory once the receiver has accepted."""

    def __init__(self, address: str, peer: str, shape: tuple[int, ...], dtype: torch.dtype, timeout: float):
        self.waited = self.sent = 0.0
        self._peer, self._timeout, self._shape, self._dtype = peer, timeout, shape, dtype
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect("\0" + address)
        self._slots: list[Tensor] = []
        self._free = self._next = 0

    def map(self) -> None:
        message, files, _, _ = socket.recv_fds(self._socket, _TICK.size, 1)
        count = _TICK.unpack(message)[0]
        stride = os.fstat(files[0]).st_size // count
        self._slots = _slots(files[0], stride, count, self._shape, self._dtype)
        os.close(files[0])
        self._free = count

    def send(self, t: int, message: Tensor) -> None:
        begin = time.perf_counter()
        if self._free == 0:
            self._free += len(_read_some(self._socket, 64, self._peer, self._timeout, t))
            began, begin = begin, time.perf_counter()
            self.waited += begin - began
        self._slots[self._next].copy_(message)
        self._free -= 1
        self._next = (self._next + 1) % len(self._slots)
        try:
            self._socket.send(_TICK.pack(t))
        except OSError:
            raise PeerLost(f"{self._peer} is gone (at minibatch {t})") from None
        self.sent += time.perf_counter() - begin


def _slots(memory: int, stride: int, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    shared = mmap.mmap(memory, stride * count)
    n = torch.Size(shape).numel()
    return [torch.frombuffer(shared, dtype=dtype, count=n, offset=i * stride).view(shape) for i in range(count)]


def _read(source: socket.socket, size: int, peer: str, timeout: float, t: int) -> bytes:
    got = _read_some(source, size, peer, timeout, t)
    while len(got) < size:
        got += _read_some(source, size - len(got), peer, timeout, t)
    return got


def _read_some(source: socket.socket, size: int, peer: str, timeout: float, t: int) -> bytes:
    try:
        got = source.recv(size)
    except TimeoutError:
        raise PeerLost(f"{peer} has been silent for {timeout:.0f} s (at minibatch {t})") from None
    except OSError:
        got = b""
    if not got:
        raise PeerLost(f"{peer} is gone (at minibatch {t})")
    return got
