"""Many files at once: decoders and disks leave other threads running meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(what: Callable[[T], R], over: Iterable[T]) -> list[R]:
    """In their order. The first error ends it: what has not begun is left out."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            return list(pool.map(what, over))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
