"""Losses of your own, by name.

    @register_loss("tilted", of="values")
    def tilted(output, target, quantile: float = 0.5):      # a loss for each example, `(batch,)` or `(batch, values)`
        below = target - output
        return torch.maximum(quantile * below, (quantile - 1) * below)

    objective: {loss: tilted, quantile: 0.9}

Its options stand beside its name, in place of those of the losses that are here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from unlocked.blame import defined
from unlocked.errors import ConfigError
from unlocked.options import as_annotated, check_options
from unlocked.tasks.base import TASKS, Task
from unlocked.tasks.losses import CLASS_LOSSES, LABEL_LOSSES, VALUE_LOSSES, PerExample
from unlocked_models.contract.registry import Registry, unknown

LOSSES: Registry[Callable[..., Tensor]] = Registry("loss")
# By what outputs stand for (`Task.chooses`): the losses that are here, and their options
OURS: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "classes": (CLASS_LOSSES, ("smoothing", "class_weights", "gamma", "delta")),
    "labels": (LABEL_LOSSES, ("positive_weight", "gamma")),
    "values": (VALUE_LOSSES, ("delta",)),
}
F = TypeVar("F", bound=Callable[..., Any])


def register_loss(name: str, *, of: str | Sequence[str]) -> Callable[[F], F]:
    """Register a loss: a function `(output, target, **options)` that gives a number for each example, `(batch,)`, or
    for each of its values, `(batch, values)`, whose mean is taken.

    Args:
        of: what outputs stand for, one or several of `classes` (logits `(batch, classes)`, targets ids `(batch,)`),
            `labels` (logits and zeros and ones, `(batch, labels)`), `values` (both `(batch, values)`).

    The keyword options, with annotations and defaults, are keys under `objective.` beside `objective.loss`.
    """
    kinds = (of,) if isinstance(of, str) else tuple(of)

    def add(function: F) -> F:
        check_function("loss", name, function, kinds)
        if taken := [kind for kind in kinds if name in OURS[kind][0]]:
            raise ValueError(f"loss {name!r}: is the name of a loss of {taken[0]} already; give yours another")
        LOSSES.register(name, of=kinds)(function)
        return function

    return add


def check_function(kind: str, name: str, function: Any, of: Sequence[str]) -> None:
    """Raises `TypeError` or `ValueError`, one line, for a loss or metric that cannot be called as one."""
    for each in of:
        if each not in OURS:
            raise ValueError(f"{kind} {name!r}: of: {unknown('kind of outputs', each, list(OURS))}")
    if not callable(function):
        raise TypeError(f"{kind} {name!r}: a {type(function).__name__} is not a function")
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = [each.name for each in parameters[2:] if each.default is each.empty and each.kind in positional]
    if len(parameters) < 2 or parameters[1].kind not in positional or rest:
        at = defined(function)
        raise TypeError(
            f"{kind} {name!r}: {getattr(function, '__name__', kind)}{inspect.signature(function)}"
            f"{f' at {at}' if at else ''} is called as {name}(output, target), with options by name, each having a "
            "default"
        )


@dataclass(frozen=True)
class OwnLoss:
    """A registered loss with its options, called in a task as `losses.ClassLoss` is."""

    name: str
    options: Mapping[str, Any]
    is_plain = False

    def check(self, classes: int) -> None:
        """Nothing of it goes by the number of classes."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        before = None if target.is_inference() else target._version
        found = LOSSES.get(self.name)(output, target, **self.options)
        if before is not None and target._version != before:  # which may be those of the data set
            raise ConfigError(f"objective.loss: {self.said()} changes its targets in place; it has to make new tensors")
        if not isinstance(found, Tensor) or not found.dim() or len(found) != len(output):
            gives = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"objective.loss: {self.said()} gives {gives} for {len(output)} examples; it has to give a number for "
                f"each, so end it with .mean(1), or with no mean"
            )
        return found.flatten(1).mean(1) if found.dim() > 1 else found

    def said(self) -> str:
        """`tilted (my_loss.py:7)`."""
        at = defined(LOSSES.get(self.name))
        return f"{self.name}{f' ({at})' if at else ''}"


def make_task(name: str, objective: Mapping[str, Any]) -> Task:
    """The task of that name with the options of `objective`, under a loss of the user's own if that is named."""
    kind = TASKS.get(name)
    own, others = _parted(kind, objective)
    task = kind(**others)
    if own is not None:
        assert isinstance(task, PerExample)
        task.take(own)
    return task


def check_objective(name: str, objective: Mapping[str, Any]) -> None:
    """Raises `ConfigError`, one line, for options that neither the task nor the named loss takes."""
    kind, loss = TASKS.get(name), objective.get("loss")
    takes_loss = issubclass(kind, PerExample) and kind.chooses in OURS and "loss" in inspect.signature(kind).parameters
    if not takes_loss or not isinstance(loss, str) or loss in (ours := OURS[str(kind.chooses)])[0]:
        if isinstance(loss, str) and loss in LOSSES:
            raise ConfigError(
                f"objective.loss: {loss} is a loss of {' and '.join(LOSSES.facts(loss)['of'])}, and {name} takes none "
                f"of its own; a subclass of its task with a loss(output, target) does (docs/own-task.md)"
            )
        check_options("objective", name, kind, objective, skip=0)
        return
    mine = [each for each in LOSSES if kind.chooses in LOSSES.facts(each)["of"]]
    if loss not in mine:
        listed = unknown("loss", loss, [*ours[0], *mine])
        of = f"; {loss} is of {' and '.join(LOSSES.facts(loss)['of'])}" if loss in LOSSES else ""
        raise ConfigError(f"objective.loss: {listed}{of}")
    own = _options_of(loss)
    others = {key: value for key, value in objective.items() if key not in own and _is_of_task(kind, key)}
    check_options("objective", name, kind, others, skip=0)
    given = {key: value for key, value in objective.items() if key not in others and key != "loss"}
    check_options("objective", loss, LOSSES.get(loss), given, skip=2)


def with_floats(name: str, objective: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options, with whole numbers as floats if the task or the loss is annotated so."""
    found = as_annotated(TASKS.get(name), objective)
    loss = objective.get("loss")
    if isinstance(loss, str) and loss in LOSSES:
        own = _options_of(loss)
        found |= as_annotated(LOSSES.get(loss), {key: value for key, value in objective.items() if key in own})
    return found


def _parted(kind: type[Task], objective: Mapping[str, Any]) -> tuple[OwnLoss | None, dict[str, Any]]:
    """The loss of the user's own, and the options of the task beside it."""
    loss = objective.get("loss")
    if not isinstance(loss, str) or loss not in LOSSES or not issubclass(kind, PerExample):
        return None, dict(objective)
    own = {key: value for key, value in objective.items() if key in _options_of(loss)}
    return OwnLoss(loss, own), {key: value for key, value in objective.items() if key not in own and key != "loss"}


def _options_of(loss: str) -> list[str]:
    return list(inspect.signature(LOSSES.get(loss)).parameters)[2:]


def _is_of_task(kind: type[Task], key: str) -> bool:
    """Whether an option is the task's whatever its loss: not one of the losses that are here."""
    return key != "loss" and key in inspect.signature(kind).parameters and key not in OURS[str(kind.chooses)][1]
