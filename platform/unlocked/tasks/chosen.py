"""Metrics that a configuration asks for by name (`metrics: [top_5, f1]`), by torchmetrics, over a whole split.

They are computed once, of all outputs of the split, so they are no means of minibatches. A task says by `chooses` what
its outputs are, and by `scored` what they are compared with.

Of several classes or labels, precision, recall, f1 and auroc are the mean over them (macro). `calibration` is the
expected calibration error of 15 bins (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from torch import Tensor

from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.tasks.base import Task, task_name
from unlocked_models.contract.registry import unknown

BINS = 15
_TOP = re.compile(r"top_([1-9]\d*)")
Measure = Callable[[Tensor, Tensor], Tensor]


def check_chosen(names: Sequence[str], task: type[Task], classes: int | None = None) -> None:
    """Raises `ConfigError` for a name that is no metric of the task; `classes`: of the data, once it is known."""
    table = _TABLES.get(task.chooses or "", {})
    known = [*dict.fromkeys(("loss", task.monitor, *task.also, *table))]
    for i, name in enumerate(names):
        top = _TOP.fullmatch(name) if task.chooses == "classes" and isinstance(name, str) else None
        if top is None and name not in known:
            listed = [*known, "top_5"] if task.chooses == "classes" else known
            raise ConfigError(f"metrics[{i}]: {unknown(f'metric of {task_name(task)}', name, listed)}")
        if top is not None and classes is not None and int(top[1]) >= classes:
            raise ConfigError(f"metrics[{i}]: {name} is always right, the data has {classes} classes")


def measured(task: Task, kept: Tensor, data: DataSet, split: str, names: Sequence[str]) -> dict[str, float]:
    """The task's own metrics of a split, and those that were asked for beside them."""
    found = task.measure(kept, data, split)
    more = [name for name in names if name not in found]
    if more and task.chooses is not None:
        outputs, target = task.scored(kept, task.target(getattr(data, split)), data)
        outputs, target = outputs.double().cpu().contiguous(), target.cpu().contiguous()
        found |= {name: float(_measure(task.chooses, name)(outputs, target)) for name in more}
    return found


def _measure(kind: str, name: str) -> Measure:
    if kind == "classes" and (top := _TOP.fullmatch(name)):
        return _top(int(top[1]))
    return _TABLES[kind][name]


def _of_classes(name: str) -> Measure:
    """Of logits `(n, classes)` and class ids `(n,)`, by the function of torchmetrics."""

    def measure(logits: Tensor, y: Tensor) -> Tensor:
        from torchmetrics.functional import classification

        options = {"n_bins": BINS, "norm": "l1"} if name == "calibration_error" else {"average": "macro"}
        found: Tensor = getattr(classification, f"multiclass_{name}")(logits.softmax(1), y, logits.shape[1], **options)
        return found

    return measure


def _top(k: int) -> Measure:
    def measure(logits: Tensor, y: Tensor) -> Tensor:
        from torchmetrics.functional.classification import multiclass_accuracy

        found: Tensor = multiclass_accuracy(logits, y, logits.shape[1], average="micro", top_k=k)
        return found

    return measure


def _of_labels(name: str) -> Measure:
    """Of logits and zeros and ones `(n, labels)`; of one label, and for the calibration, as of one long column."""

    def measure(logits: Tensor, y: Tensor) -> Tensor:
        from torchmetrics.functional import classification

        p, y, labels = logits.sigmoid(), y.long(), logits.shape[1]
        if name == "calibration_error":
            return classification.binary_calibration_error(p.flatten(), y.flatten(), n_bins=BINS, norm="l1")
        if labels == 1:
            found: Tensor = getattr(classification, f"binary_{name}")(p[:, 0], y[:, 0])
        else:
            found = getattr(classification, f"multilabel_{name}")(p, y, labels, average="macro")
        return found

    return measure


def _of_values(name: str) -> Measure:
    def measure(output: Tensor, target: Tensor) -> Tensor:
        from torchmetrics.functional import regression

        found: Tensor = getattr(regression, name)(output, target.double())
        return found.mean()

    return measure


_RANKED = {"precision": "precision", "recall": "recall", "f1": "f1_score", "auroc": "auroc"}
_TABLES: dict[str, dict[str, Measure]] = {
    "classes": {
        "accuracy": _top(1),
        **{name: _of_classes(theirs) for name, theirs in _RANKED.items()},
        "calibration": _of_classes("calibration_error"),
    },
    "labels": {
        **{name: _of_labels(theirs) for name, theirs in _RANKED.items()},
        "calibration": _of_labels("calibration_error"),
    },
    "values": {
        "mse": _of_values("mean_squared_error"),
        "mae": _of_values("mean_absolute_error"),
        "r2": _of_values("r2_score"),
        "explained_variance": _of_values("explained_variance"),
    },
}
