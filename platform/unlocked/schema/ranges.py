"""What single keys may be: ranges of numbers, and words of which one is chosen.

The upper ends are far beyond sense and below what breaks something else: torch dies of a signal at a hundred million
threads, and seeds have 63 bits, as torch's have.
"""

from __future__ import annotations

from collections.abc import Callable

from unlocked.schema.keys import MULTI_STAGE

MOST = 10**9  # of anything that is counted
MOST_WIDTH = 10**7  # of a layer
MOST_WORKERS = 10_000  # modules, replicas, processes, nodes
MOST_THREADS = 1024
MOST_SEED = 2**63 - 1
LONGEST_WAIT = 31_536_000.0  # seconds, a year

_Range = tuple[str, Callable[[float], bool]]


def _at_least(low: float) -> _Range:
    return f"at least {low}", lambda v: v >= low


def _between(low: float, high: float) -> _Range:
    return f"{low} to {high}", lambda v: low <= v <= high


def _up_to(high: float, unit: str) -> _Range:
    return f"more than 0, at most {high:g} {unit}", lambda v: 0 < v <= high


_positive: _Range = ("greater than 0", lambda v: v > 0)
_kernel: _Range = ("odd, 1 to 99", lambda v: 1 <= v <= 99 and v % 2 == 1)
_share: _Range = (f"0, or 0.01 to {MOST_WORKERS}", lambda v: v == 0 or 0.01 <= v <= MOST_WORKERS)
RANGES: dict[str, _Range] = {
    "seed": _between(0, MOST_SEED),
    "data.batch_size": _between(1, MOST),
    "data.validation": ("at least 0 and below 1", lambda v: 0 <= v < 1),
    "data.seed": _between(0, MOST_SEED),
    "scheme.sg.rank": _between(1, MOST_WIDTH),
    "scheme.sg.embedding": _between(1, MOST_WIDTH),
    "scheme.sg.kernel": _kernel,
    "scheme.sg.lr": _positive,
    "scheme.inputs.embedding": _between(1, MOST_WIDTH),
    "scheme.inputs.kernel": _kernel,
    "scheme.inputs.lr": _positive,
    "scheme.time.clip": _positive,
    "scheme.time.lr": _positive,
    "scheme.time.scale": _positive,
    "scheme.time.ramp": _between(0, MOST),
    "scheme.time.auxiliary": _at_least(0),
    "scheme.feedback.scale": _positive,
    "scheme.feedback.seed": _between(0, MOST_SEED),
    "optimizer.lr": _positive,
    "optimizer.weight_decay": _at_least(0),
    "optimizer.momentum": ("at least 0 and below 1", lambda v: 0 <= v < 1),
    "optimizer.eps": _positive,
    "optimizer.warmup": _between(0, MOST),
    "optimizer.clip_norm": _positive,
    "train.epochs": _between(1, MOST),
    "train.log_every": _between(1, MOST),
    "train.evaluate_every": _between(1, MOST),
    "train.probe_every": _between(0, MOST),
    "train.checkpoint_every": _between(1, MOST),
    "train.patience": _between(1, MOST),
    "train.curriculum": _positive,
    "transfer.blocks": _at_least(1),
    "pretrain.epochs": _between(0, MOST),
    "pretrain.blocks": _at_least(1),
    "pretrain.level": _at_least(0),
    "pretrain.lr": _positive,
    "parallel.modules": _between(1, MOST_WORKERS),
    "parallel.replicas": _between(1, MOST_WORKERS),
    "parallel.threads": _between(1, MOST_THREADS),
    "parallel.modules_per_worker": _between(1, MOST_WORKERS),
    "parallel.microbatches": _between(1, MOST),
    "parallel.max_failures": _between(0, MOST),
    "parallel.timeout": _up_to(LONGEST_WAIT, "seconds, a year"),
    "sweep.trials": _between(1, MOST),
    "sweep.hours": _up_to(LONGEST_WAIT / 3600, "hours, a year"),
    "sweep.concurrent": _between(1, MOST_WORKERS),
    "sweep.repeats": _between(1, MOST_WORKERS),
    "sweep.retries": _between(0, MOST),
    "sweep.resources.cpu": _share,
    "sweep.resources.gpu": _share,
}

CHOICES: dict[str, list[str]] = {
    "scheme.sg.kind": ["auto", "linear", "mlp", "conv"],
    "scheme.sg.norm": ["batch", "none"],
    "scheme.time.norm": ["batch", "none"],
    "scheme.time.context": ["none", "start"],
    "scheme.feedback.distribution": ["uniform", "normal"],
    "scheme.feedback.granularity": ["module", "block", "layer", "macro", "micro"],
    "optimizer.schedule": ["constant", "linear", "cosine"],
    "train.precision": ["fp32", "bf16", "fp64"],
    "pretrain.noise": ["none", "gaussian", "masking"],
    "parallel.engine": ["auto", "inprocess", "ray"],
    "parallel.schedule": ["locked", "gpipe", "1f1b", *MULTI_STAGE],
    "parallel.link": ["auto", "group"],
    "parallel.place": ["pack", "spread", "replicas"],
    "parallel.device": ["auto", "cpu", "cuda"],
}
