"""`train.compile`: the compiler that `torch.compile` needs, and its errors in one line."""

from __future__ import annotations

import os
import shutil
import sys

from unlocked.errors import reason

LEAVE = "or leave train.compile out"


def missing(device: str) -> str | None:
    """Why nothing can be compiled here for this kind of device, and what to do; None: it can."""
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if shutil.which(compiler) is None:
        return (
            f"torch.compile finds no compiler of C++ here ({compiler}): install one (apt install g++), set CXX to the "
            f"one you have, {LEAVE}"
        )
    if device == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            return f"torch.compile writes kernels of this GPU by triton, which is not here: pip install triton, {LEAVE}"
    return None


def said_by_compiler(error: RuntimeError) -> str | None:
    """In one line; None: the error is of something else."""
    kinds = (kind.__module__ for kind in type(error).__mro__)
    if not any(kind.startswith(("torch._dynamo", "torch._inductor")) for kind in kinds):
        return None
    inside = getattr(error, "inner_exception", error)  # dynamo names its backend first
    return f"train.compile: torch.compile failed: {reason(inside)}; see whether `{_TRY}` works here, {LEAVE}"


_TRY = "python -c 'import torch; torch.compile(torch.sin)(torch.ones(2))'"
