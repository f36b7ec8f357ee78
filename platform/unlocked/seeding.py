"""One run seed to many independent ones: every random draw names its purpose, so no two share a stream."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from operator import index

_MASK = (1 << 64) - 1


def derive_seed(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, e.g. `derive_seed(run_seed, "init", module)`; the same on any machine.

    BLAKE2b of the seed and the parts, so neighbouring seeds give unrelated streams and `(1, "a", 2)` differs
    from `(1, "a2")`. A few microseconds; for one seed per training step take `step_seed`.

    >>> derive_seed(0, "init", 1)
    502480541027293932
    """
    text = b"".join(_tagged(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def step_seed(base: int, step: int) -> int:
    """A 63-bit seed for `step`, from integers alone: splitmix64 (Steele, Lea & Flood, 2014).

    `base` is a `derive_seed` of the purpose. Distinct steps of one base give distinct 64-bit states.

    >>> step_seed(0, 0)
    8147104208329303767
    """
    z = (base + (step + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


@contextlib.contextmanager
def drawn(seed: int, *parts: int | str) -> Iterator[None]:
    """What torch draws inside, on the CPU, is of `derive_seed(seed, *parts)`; outside nothing has moved."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *parts))
        yield


def _tagged(part: int | str) -> bytes:
    tag, text = ("s", part) if isinstance(part, str) else ("i", str(index(part)))
    encoded = text.encode()
    return f"{tag}{len(encoded)}:".encode() + encoded
