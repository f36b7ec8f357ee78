"""DeepSpeed as a package: whether it is installed, and an import of it that compiles nothing.

It is imported when an engine asks for it and never before: that takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from importlib.metadata import version
from typing import Any

import torch

INSTALL = "pip install 'unlocked[deepspeed]'"
FLOOR = (0, 19)  # the first with managed_gradient_accumulation=false: whoever calls backward says when to step


def missing() -> str | None:
    """Why it cannot be used here, and what to do; None: it can."""
    if importlib.util.find_spec("deepspeed") is None:
        return f"the package deepspeed is not installed: {INSTALL}"
    have = version("deepspeed")
    if tuple(int(number) for number in have.split("+")[0].split(".")[:2]) < FLOOR:
        return f"deepspeed {have} is older than {'.'.join(map(str, FLOOR))}: pip install -U deepspeed"
    return None


def import_deepspeed(device: str = "auto") -> Any:
    """The package, for this kind of device (auto: cuda if there is a GPU), without what it would compile on the way."""
    if "deepspeed" in sys.modules:
        return sys.modules["deepspeed"]
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    before = os.environ.get("DS_ACCELERATOR")
    os.environ["DS_ACCELERATOR"] = kind  # else it looks for one by importing whatever is installed
    os.environ.setdefault("LOCAL_RANK", "0")  # a Ray worker sees its own device alone
    hidden, compiler = "mlflow" not in sys.modules, torch.compile
    if hidden:  # its tuner would import it: half of the time
        sys.modules["mlflow"] = None  # type: ignore[assignment]
    torch.compile = _as_it_is  # type: ignore[assignment]  # a Muon of its own, which nobody here runs: seconds
    try:
        import deepspeed
        import deepspeed.runtime.zero.muon.muon_optimizer
    finally:
        torch.compile = compiler
        if hidden:
            del sys.modules["mlflow"]
        if before is None:
            del os.environ["DS_ACCELERATOR"]
        else:
            os.environ["DS_ACCELERATOR"] = before
    # it calls collectives of torch by names that are going out of use, in every step
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    # collectives through shared memory: C++ that would be compiled now, and that knows no groups but the whole world
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _as_it_is(function: Any = None, **_: Any) -> Any:
    """`torch.compile`, also as a decorator with arguments, without compiling."""
    return function if function is not None else _as_it_is
