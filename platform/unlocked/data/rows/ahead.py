"""Minibatches that threads read while the net learns from the one before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor


class ReadAhead:
    """The inputs of minibatch t, read by then: what is asked for in order is asked for ahead.

    Args:
        rows: of minibatch t; called on the caller's thread.
        known: whether they are, before its turn.
        read: the inputs of minibatch t, of these rows, on any thread.
        depth: how many minibatches at most are read ahead.
        readers: threads.
    """

    def __init__(
        self,
        rows: Callable[[int], Tensor],
        known: Callable[[int], bool],
        read: Callable[[int, Tensor], Tensor],
        depth: int,
        readers: int,
    ):
        self._rows, self._known, self._read, self._depth = rows, known, read, depth
        self._pool = ThreadPoolExecutor(min(readers, depth), "rows") if depth else None
        self._coming: dict[int, Future[Tensor]] = {}
        self._recent: dict[int, Tensor] = {}  # a late message asks for a minibatch again

    def take(self, step: int) -> Tensor:
        if step in self._recent:
            return self._recent[step]
        coming = self._coming.pop(step, None)
        goes_back = self._coming and step < min(self._coming)
        if coming is None and not goes_back:
            self.forget()
        if not goes_back or coming is not None:
            self._ask(step)
        x = self._read(step, self._rows(step)) if coming is None else coming.result()
        kept = [*self._recent.items()][-self._depth :] if self._depth else []
        self._recent = {**dict(kept), step: x}
        return x

    def forget(self) -> None:
        """What was asked for: the order is another one now."""
        for other in self._coming.values():
            other.cancel()
        self._coming, self._recent = {}, {}

    def _ask(self, step: int) -> None:
        if self._pool is None:
            return
        for later in range(step + 1, step + 1 + self._depth):
            if not self._known(later):
                return
            if later not in self._coming:
                self._coming[later] = self._pool.submit(self._read, later, self._rows(later))
