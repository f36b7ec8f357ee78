"""What the name of a metric says: which way it is better, whether it is a share, how a table heads it.

The one place that knows it: studies take their direction from here, tables their order, and a task its word about its
own metric. A name is a key of the log, such as `test/accuracy`, `best/val_bits` or `time/wait_ms/module_1`; a timing
may say its place: `time/steps_per_second @ ray`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_LOWER = {
    "loss",
    "bits",
    "perplexity",
    "mse",
    "rmse",
    "mae",
    "nats",
    "error",
    "token_error",
    "calibration",
    "wait_fraction",
    "compute_ms",
    "wait_ms",
    "communicate_ms",
    "seconds",
    "restarts",
}
_HIGHER = {
    "accuracy",
    "f1",
    "precision",
    "recall",
    "auroc",
    "explained_variance",
    "r2",
    "bleu",
    "exact",
    "pairs",
    "steps_per_second",
    "examples_per_second",
    "align",
    "per_example",
    "level",
}
OURS = _LOWER | _HIGHER
_SHARES = {"accuracy", "exact", "pairs", "wait_fraction"}  # shown in percent
_NEVER_NEGATIVE = {"token_error", "perplexity", "mse", "rmse", "mae", "bleu", "error"}
_TOP = re.compile(r"top_\d+")  # whether the class is among so many of the likeliest
_HEADINGS = {
    "time/steps_per_second": "steps/s",
    "time/examples_per_second": "examples/s",
    "time/wait_fraction": "waiting",
    "lr": "last lr",
}  # of the schedule: the rate itself is a key
_UNITS = {
    "loss": "loss (mean per target)",
    "bits": "bits per target",
    "nats": "nats per example",
    "mse": "mean squared error",
    "rmse": "root of the mean squared error",
    "mae": "mean absolute error",
    "steps_per_second": "steps per second",
    "examples_per_second": "examples per second",
    "wait_fraction": "share of the time spent waiting",
    "compute_ms": "milliseconds per step",
    "wait_ms": "milliseconds per step",
    "communicate_ms": "milliseconds per step",
    "seconds": "seconds",
    "align": "cosine with the true gradient",
    "bleu": "BLEU",
}
AT = " @ "  # between a timing and its place
_declared: dict[str, bool] = {}


def declare(name: str, higher_is_better: bool) -> None:
    """What a task says of a metric of its own; of those that are known here it is not asked."""
    _declared[name] = higher_is_better


def is_ours(name: str) -> bool:
    """Whether it is the name of a metric of the platform's."""
    return name in OURS or _TOP.fullmatch(name) is not None


def is_known(metric: str) -> bool:
    """Whether anybody has said which way it is better."""
    word = _word(metric)
    return is_ours(word) or word in _declared


def higher_is_better(metric: str) -> bool:
    """Of what nobody has spoken of, a name that ends as one that is better low (`my_loss`) is, any other is not.

    >>> [higher_is_better(name) for name in ("test/accuracy", "best/val_bits", "sg/loss/module_0", "align/module_1")]
    [True, False, False, True]
    """
    word = _word(metric)
    if word in _HIGHER or word in _LOWER:
        return word in _HIGHER
    if _TOP.fullmatch(word):
        return True
    if word in _declared:
        return _declared[word]
    return not word.endswith(tuple(_LOWER))


def is_share(metric: str) -> bool:
    """Whether it lies between 0 and 1 and is read in percent."""
    return _word(metric) in _SHARES or _TOP.fullmatch(_word(metric)) is not None


def is_timing(metric: str) -> bool:
    """Whether it depends on the machine: such figures are comparable within one place only."""
    return metric.startswith(("time/", "system/"))


def limits(metric: str) -> tuple[float, float]:
    """Between which values it must lie.

    >>> limits("test/accuracy"), limits("time/steps_per_second"), limits("test/loss")
    ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    if is_share(metric):
        return 0.0, 1.0
    return 0.0 if is_timing(metric) or _word(metric) in _NEVER_NEGATIVE else -math.inf, math.inf


def heading(metric: str) -> str:
    """
    >>> heading("test/accuracy"), heading("best/val_bits"), heading("time/steps_per_second")
    ('test accuracy', 'best validation', 'steps/s')
    """
    name, at, place = metric.partition(AT)
    if name.startswith("best/val_"):
        return "best validation"
    words = _HEADINGS.get(name) or name.replace("/", " ").replace("_", " ")
    return f"{words},\n{place}" if at else words


def axis_label(metric: str) -> str:
    """With its unit, as an axis says it; of shares the ticks have it.

    >>> axis_label("val/accuracy"), axis_label("val/loss"), axis_label("time/steps_per_second"), axis_label("val/bits")
    ('accuracy', 'loss (mean per target)', 'steps per second', 'bits per target')
    """
    word = _word(metric)
    if word in _UNITS:
        return _UNITS[word]
    return word.replace("_", " ")


def by_module(values: Mapping[str, T], prefix: str) -> dict[int, T]:
    """What stands in `values` under `<prefix>module_k`, in the order of the modules.

    >>> by_module({"align/module_10": 0.5, "align/module_9": 0.2, "align/norm_ratio/module_9": 1.0}, "align/")
    {9: 0.2, 10: 0.5}
    """
    of_module = re.compile(re.escape(prefix) + r"module_(\d+)")
    found = {int(match[1]): value for key, value in values.items() if (match := of_module.fullmatch(key))}
    return dict(sorted(found.items()))


def _word(metric: str) -> str:
    """The metric's own name in its key."""
    key = re.sub(r"/module_\d+$", "", metric.partition(AT)[0])
    return key.rpartition("/")[2].removeprefix("val_")
