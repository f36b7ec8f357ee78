"""What ZeRO holds and sends, measured: bytes of tensors by category, and of collectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch.distributed as dist
from torch import Tensor

# Bytes that a worker sends, in multiples of the whole tensor, with n workers in a ring.
_SENT: dict[str, Callable[[int], float]] = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "reduce_scatter_tensor": lambda n: (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "all_gather_into_tensor": lambda n: (n - 1) / n,
    "all_gather_coalesced": lambda n: (n - 1) / n,
    "broadcast": lambda n: (n - 1) / n,
    "reduce": lambda n: (n - 1) / n,
}


def ring(collective: str, workers: int) -> float:
    """Bytes that a worker sends for one of the whole tensor.

    >>> ring("all_reduce", 2)
    1.0
    """
    return _SENT[collective](workers)


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of the memory behind the tensors; what several share counts once."""
    found = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)


class Traffic:
    """Bytes that this worker has sent by DeepSpeed's collectives so far."""

    def __init__(self, backend: Any):
        """`backend`: DeepSpeed's own, whose methods are counted from now on."""
        self.bytes = 0.0
        for name, share in _SENT.items():
            method = getattr(backend, name, None)
            if method is not None:
                setattr(backend, name, self._counted(method, share))

    def _counted(self, method: Callable[..., Any], share: Callable[[int], float]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            given = [*args, *options.values()]
            group = next((each for each in given if isinstance(each, dist.ProcessGroup)), None)
            whole = max((sum(t.nbytes for t in tensors_in(each)) for each in given), default=0)
            self.bytes += whole * share(dist.get_world_size(group))
            return method(*args, **options)

        return counted
