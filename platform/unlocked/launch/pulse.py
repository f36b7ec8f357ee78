"""Does a worker get on? The driver asks while it waits for results; a thread of the worker answers.

Ray runs the calls of an actor one after the other, so one that hangs (stopped, deadlocked, in an endless loop) looks
like one that trains. Here every worker listens on a port of its own and tells whoever connects what its main thread is
doing. Steps pay nothing for it: what is told are counters that are kept anyway, read when somebody asks. Stacks show
code, so a worker answers only who knows the secret of its group (HMAC-SHA256 of a number drawn for the occasion).
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

Address = tuple[str, int]

_NONCE, _PROOF = 16, 32  # bytes
_PATIENCE = 5.0  # seconds in which an asker must prove itself: others queue behind it

# where a worker waits for another one, within a time limit of its own: the other one is to blame
_WAITING = ("unlocked.engine.links", "unlocked.engine.shared", "torch.distributed")


@dataclass(frozen=True)
class Pulse:
    """What a worker is doing."""

    calls: int  # of the driver, begun and ended: odd while one runs
    step: int  # the latest minibatch
    waiting: bool  # for another worker
    stack: str  # of its main thread, as in a traceback


def take_pulse(calls: int, step: int) -> Pulse:
    """The pulse of this process; from any thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return Pulse(calls, step, False, "")
    name = frame.f_globals.get("__name__", "")
    return Pulse(calls, step, name.startswith(_WAITING), "".join(traceback.format_stack(frame)))


class PulseServer:
    """Answers whoever knows the secret with one pulse, others with nothing, until the process ends."""

    def __init__(self, host: str, pulse: Callable[[], Pulse]):
        self.secret: bytes | None = None  # until there is one, nobody is answered
        self._pulse = pulse
        self._listener = socket.create_server((host, 0))
        self.address: Address = (host, self._listener.getsockname()[1])
        threading.Thread(target=self._serve, name="pulse", daemon=True).start()

    def _serve(self) -> None:
        while True:
            asker, _ = self._listener.accept()
            with asker, contextlib.suppress(OSError):
                asker.settimeout(_PATIENCE)
                nonce = secrets.token_bytes(_NONCE)
                asker.sendall(nonce)
                proof = _receive(asker, _PROOF)
                if self.secret is not None and hmac.compare_digest(proof, _proof(self.secret, nonce)):
                    asker.sendall(json.dumps(asdict(self._pulse())).encode())


class Watch:
    """The driver's view of its workers while it waits for them.

    A worker hangs when it has not answered for `timeout` seconds, or has for as long been inside one call, at one
    minibatch, without waiting for another worker. Workers that cannot be reached from here are not watched: a
    firewall may stand between.
    """

    def __init__(self, addresses: Sequence[Address | None], secret: bytes, timeout: float):
        self._secret, self._timeout = secret, timeout
        self.interval = min(timeout / 4, 15.0)  # seconds between two looks
        self._patience = min(timeout, 5.0)  # seconds for an answer
        self._addresses = {worker: address for worker, address in enumerate(addresses) if address is not None}
        self._last = self._ask()
        self._addresses = {worker: self._addresses[worker] for worker in self._last}
        self.begin()

    def begin(self) -> None:
        """A new wait: nobody is late yet."""
        self._since = dict.fromkeys(self._addresses, time.monotonic())  # when each was last seen to get on

    def look(self) -> tuple[int, Pulse | None] | None:
        """The worker that hangs, and what it is doing where it says so; None while all get on."""
        return self._latest(self._timeout, self._timeout)

    def blame(self) -> tuple[int, Pulse | None] | None:
        """As `look`, when one worker has just waited in vain for another: less is proof then."""
        return self._latest(0.0, self._timeout / 2)

    def _latest(self, silent: float, stuck: float) -> tuple[int, Pulse | None] | None:
        pulses, now, late = self._ask(), time.monotonic(), dict[int, tuple[bool, float]]()
        for worker in self._addresses:
            pulse = pulses.get(worker)
            if pulse is not None and _gets_on(self._last.get(worker), pulse):
                self._since[worker] = now
            seconds = now - self._since[worker]
            if seconds >= (silent if pulse is None else stuck):
                late[worker] = (pulse is None, seconds)  # a silent one before those that it may hold up
        self._last |= pulses
        if not late:
            return None
        worker = max(late, key=late.__getitem__)
        return worker, pulses.get(worker)

    def _ask(self) -> dict[int, Pulse]:
        """All at once; without those that do not answer."""
        with ThreadPoolExecutor(min(len(self._addresses), 64) or 1) as pool:
            pulses = pool.map(self._ask_one, self._addresses.values())
            return {worker: pulse for worker, pulse in zip(self._addresses, pulses, strict=True) if pulse is not None}

    def _ask_one(self, address: Address) -> Pulse | None:
        try:
            with socket.create_connection(address, timeout=self._patience) as worker:
                worker.sendall(_proof(self._secret, _receive(worker, _NONCE)))
                said = b"".join(iter(lambda: worker.recv(65536), b""))
            return Pulse(**json.loads(said))
        except (OSError, ValueError, TypeError):  # no answer, or that of somebody else
            return None


def _proof(secret: bytes, nonce: bytes) -> bytes:
    return hmac.digest(secret, nonce, "sha256")


def _receive(peer: socket.socket, count: int) -> bytes:
    """`count` bytes, or fewer where the peer hung up."""
    got = b""
    while len(got) < count and (more := peer.recv(count - len(got))):
        got += more
    return got


def _gets_on(before: Pulse | None, now: Pulse) -> bool:
    if before is None or now.calls % 2 == 0 or now.waiting:
        return True
    return (now.calls, now.step) != (before.calls, before.step)
