"""What a task of one's own gives, checked: its loss is one number with a graph, its metrics are plain numbers by name.

Each function gives one line that names the task, the method's file and line, and the remedy; None if all is well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unlocked.blame import defined
from unlocked.errors import RunFailed
from unlocked.tasks.base import Task, task_name


def fault_of_loss(task: Task, loss: Any) -> str | None:
    """`loss`: of outputs that require a gradient."""
    if not isinstance(loss, Tensor):
        return f"{_method(task, 'loss')} gives {_a(loss)}, not a tensor; compute it from the outputs with torch"
    if loss.dim():
        return (
            f"{_method(task, 'loss')} gives a tensor of shape {tuple(loss.shape)}, not one number; "
            f"end it with .mean(), over examples"
        )
    if not loss.is_floating_point():
        return f"{_method(task, 'loss')} gives {str(loss.dtype).removeprefix('torch.')}, not a real number"
    if not loss.requires_grad:
        return (
            f"{_method(task, 'loss')} has no gradient at the outputs; compute it from them without "
            f".detach(), .item(), argmax or torch.no_grad()"
        )
    return None


def fault_of_metrics(task: Task, found: Any, method: str = "metrics") -> str | None:
    """Of a whole split; those of `metrics` have the loss, and the one that early stopping follows."""
    if not isinstance(found, dict):
        return f"{_method(task, method)} gives {_a(found)}, not a dict of numbers by name"
    needed = ("loss", task.monitor) if method == "metrics" else ()
    if missing := [name for name in needed if name not in found]:
        given = ", ".join(map(str, found)) or "none"
        return f"{_method(task, method)} gives no {missing[0]}, which is needed; given: {given}"
    for name, value in found.items():
        if not isinstance(name, str):
            return f"{_method(task, method)} names a metric {name!r}; a name is a text"
        if not isinstance(value, int | float):
            return f"{_method(task, method)} gives {_a(value)} for {name}, not a number; write float(...) around it"
    return None


def checked_metrics(task: Task, found: Any, method: str = "metrics") -> dict[str, float]:
    """Raises `RunFailed`, one line, for metrics that have a fault."""
    if (fault := fault_of_metrics(task, found, method)) is not None:
        raise RunFailed(f"task: {fault}")
    measured: dict[str, float] = found
    return measured


def fault_of_call(task: Task, method: str, problem: str) -> str:
    return f"{_method(task, method)} {problem}"


def _method(task: Task, name: str) -> str:
    own = getattr(task, "own_loss", None)
    if name == "loss" and own is not None:
        return f"the loss {own.said()}"
    at = defined(getattr(type(task), name))
    return f"{name} of {task_name(type(task))}{f' ({at})' if at else ''}"


def _a(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
