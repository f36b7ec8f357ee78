"""In which numbers a net computes: of weights and messages, and of products inside a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unlocked.errors import RunFailed, in_one_line

DTYPES = {  # of weights and messages
    "fp32": torch.float32,
    "bf16": torch.float32,
    "fp16": torch.float32,
    "fp64": torch.float64,
}
SHORT = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of products, by autocast
_LACKS_A_KERNEL = ("not implemented for 'Half'", "not implemented for 'BFloat16'", "primitive descriptor")


@contextmanager
def in_short(dtype: torch.dtype | None, device: torch.device, module: int) -> Iterator[None]:
    """Products by autocast; None: as they are. Raises `RunFailed`, one line, for a layer that has none of that kind."""
    if dtype is None:
        yield
        return
    try:
        with torch.autocast(device.type, dtype=dtype):
            yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _LACKS_A_KERNEL):
            raise
        name = next(name for name, short in SHORT.items() if short is dtype)
        raise RunFailed(
            f"train.precision: {name}, but a layer of module {module} has no such products on a {device.type}: "
            f"{in_one_line(str(error))}; use fp32"
        ) from None
