"""Metrics that a configuration asks for by name (`metrics: [top_5, f1]`) over a whole split: by torchmetrics, or
functions of a user's own.

They are computed once, of all outputs of the split, so they are no means of minibatches. A task says by `chooses` what
its outputs are, and by `scored` what they are compared with.

Of several classes or labels, precision, recall, f1 and auroc are the mean over them (macro). `calibration` is the
expected calibration error of 15 bins (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from unlocked import metrics
from unlocked.blame import defined, knowing_of_ctrl_c, place, said
from unlocked.data import DataSet
from unlocked.errors import ConfigError, RunFailed
from unlocked.options import as_annotated, check_options, entry_of
from unlocked.tasks.base import Task, task_name
from unlocked.tasks.own_loss import check_function
from unlocked_models.contract.registry import Registry, unknown

BINS = 15
_TOP = re.compile(r"top_([1-9]\d*)")
Measure = Callable[[Tensor, Tensor], Tensor]
METRICS: Registry[Callable[..., Any]] = Registry("metric")
F = TypeVar("F", bound=Callable[..., Any])


def register_metric(name: str, *, of: str | Sequence[str], higher_is_better: bool) -> Callable[[F], F]:
    """Register a metric: a function `(outputs, targets, **options)` of a whole split, on the CPU and in float64, that
    gives one number.

    Args:
        of: what outputs stand for, one or several of `classes`, `labels` and `values`, as `register_loss` has them;
            values are in the targets' own units.

    A configuration asks for it by `metrics: [within]`, or with options `metrics: [{name: within, tolerance: 2}]`.
    """
    kinds = (of,) if isinstance(of, str) else tuple(of)

    def add(function: F) -> F:
        check_function("metric", name, function, kinds)
        if metrics.is_ours(name):
            raise ValueError(f"metric {name!r}: is the name of a metric already; give yours another")
        if not re.fullmatch(r"[a-z]\w*", name):
            raise ValueError(f"metric {name!r}: a name is lower-case letters, digits and _, as in val/{name}")
        METRICS.register(name, of=kinds)(function)
        metrics.declare(name, higher_is_better)
        return function

    return add


def check_chosen(entries: Sequence[Any], task: type[Task], classes: int | None = None) -> None:
    """Raises `ConfigError` for what is no metric of the task; `classes`: of the data, once it is known."""
    table = _TABLES.get(task.chooses or "", {})
    mine = [name for name in METRICS if task.chooses in METRICS.facts(name)["of"]]
    known = [*dict.fromkeys(("loss", task.monitor, *task.also, *table, *mine))]
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        key, (name, options) = f"metrics[{i}]", entry_of(f"metrics[{i}]", entry, "within", "tolerance: 2")
        top = _TOP.fullmatch(name) if task.chooses == "classes" else None
        if top is None and name not in known:
            listed = [*known, "top_5"] if task.chooses == "classes" else known
            of = f"; {name} is of {' and '.join(METRICS.facts(name)['of'])}" if name in METRICS else ""
            raise ConfigError(f"{key}: {unknown(f'metric of {task_name(task)}', name, listed)}{of}")
        if top is not None and classes is not None and int(top[1]) >= classes:
            raise ConfigError(f"{key}: {name} is always right, the data has {classes} classes")
        if name in METRICS and name in mine:
            check_options(key, name, METRICS.get(name), options, skip=2)
        elif options:
            raise ConfigError(f"{key}.{next(iter(options))}: {name} has no options")
        if name in seen and options:
            raise ConfigError(f"{key}: {name} is there already, and a run logs one series of that name")
        seen.add(name)


def known_of(kind: str) -> list[str]:
    """The names that a configuration may ask for, of outputs of this kind; those of a user's own are in `METRICS`."""
    return [*_TABLES[kind], *(["top_5"] if kind == "classes" else [])]


def names_of(entries: Sequence[Any]) -> list[str]:
    """Of checked entries."""
    return [entry if isinstance(entry, str) else entry["name"] for entry in entries]


def with_float_options(entries: Sequence[Any]) -> list[Any]:
    """Checked entries, with whole numbers as floats where the metric is annotated so."""
    return [
        as_annotated(METRICS.get(e["name"]), e) if isinstance(e, Mapping) and e["name"] in METRICS else e
        for e in entries
    ]


def measured(task: Task, kept: Tensor, data: DataSet, split: str, entries: Sequence[Any]) -> dict[str, float]:
    """The task's own metrics of a split, and those that were asked for beside them."""
    found = task.measure(kept, data, split)
    if task.chooses is None:
        return found
    more = [(i, *entry_of("metrics", entry)) for i, entry in enumerate(entries)]
    more = [(i, name, options) for i, name, options in more if name not in found]
    if more:
        outputs, target = task.scored(kept, task.target(getattr(data, split)), data)
        outputs, target = outputs.double().cpu().contiguous(), target.cpu().contiguous()
        for i, name, options in more:
            if name in METRICS:
                found[name] = _of_users(f"metrics[{i}]", name, outputs, target, options)
            else:
                found[name] = float(_measure(task.chooses, name)(outputs, target))
    return found


def _of_users(key: str, name: str, outputs: Tensor, target: Tensor, options: Mapping[str, Any]) -> float:
    """Raises `RunFailed`, one line, for a metric that fails or gives anything but one number."""
    at = defined(METRICS.get(name))
    try:
        with torch.no_grad(), knowing_of_ctrl_c() as is_ctrl_c:
            found = METRICS.get(name)(outputs.clone(), target.clone(), **options)
    except BaseException as error:  # a user's code raises whatever it likes
        if is_ctrl_c(error):
            raise
        shapes = f"outputs of shape {tuple(outputs.shape)}, targets of shape {tuple(target.shape)}"
        where = place(error, METRICS.get(name)) or at
        raise RunFailed(f"{key}: {name} failed{f' at {where}' if where else ''}: {said(error)} ({shapes})") from error
    try:
        if isinstance(found, str):
            raise TypeError
        return float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        given = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise RunFailed(f"{key}: {name}{f' ({at})' if at else ''} gives {given}, not one number") from None


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
