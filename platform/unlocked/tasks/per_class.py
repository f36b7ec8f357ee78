"""How well each class is told from the others, of a task whose outputs are classes or labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unlocked.data import DataSet
from unlocked.tasks.base import Task


def per_class(task: Task, kept: Tensor, data: DataSet, split: str) -> list[dict[str, Any]]:
    """Precision, recall, F1 and how many examples there are, of each class or label; empty for another task.

    A class that is never given has precision 0, one without an example recall 0.
    """
    if task.chooses not in ("classes", "labels"):
        return []
    from sklearn.metrics import precision_recall_fscore_support

    outputs, target = task.scored(kept, task.target(getattr(data, split)), data)
    outputs, target = outputs.cpu(), target.cpu()
    n = len(data.class_names)
    if task.chooses == "labels":
        wanted, given = (target > 0).int().numpy(), (outputs > 0).int().numpy()
        found = precision_recall_fscore_support(wanted, given, average=None, zero_division=0) if n > 1 else (
            [each] for each in precision_recall_fscore_support(
                wanted[:, 0], given[:, 0], labels=[1], average=None, zero_division=0
            )
        )  # fmt: skip
        found = [each[0] if n == 1 else each for each in found]
    else:
        if outputs.dim() != 2 or outputs.shape[1] != n or target.dim() != 1:
            return []
        found = precision_recall_fscore_support(
            target.numpy(), outputs.argmax(1).numpy(), labels=list(range(n)), average=None, zero_division=0
        )
    columns = zip(data.class_names, *found, strict=True)
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "examples": int(many)}
        for name, p, r, f, many in columns
    ]
