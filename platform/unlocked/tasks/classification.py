"""Classification into exclusive classes: cross entropy or another loss by name, accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.drawing import figures
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.losses import ClassLoss, PerExample
from unlocked.tasks.predicting import Columns, of_classes
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain


@register_task("classification")
class Classification(PerExample):
    """Outputs are logits `(batch, classes)`, targets class ids `(batch,)`, or of mixed examples distributions over the
    classes `(batch, classes)`.

    `loss` and its options: see `ClassLoss` of `unlocked.tasks.losses`.
    """

    monitor = "accuracy"
    higher_is_better = True
    by_class = True
    classifies = True
    chooses = "classes"
    _each = ClassLoss()  # of subclasses with options of their own

    def __init__(
        self,
        loss: str = "cross_entropy",
        smoothing: float = 0.0,
        class_weights: list[float] = [],  # noqa: B006
        gamma: float = 2.0,
        delta: float = 1.0,
    ):
        self._each = ClassLoss(loss, smoothing, gamma, delta, tuple(class_weights))

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y (n,)` is integer class ids from 0; `class_names`, if given, says how many there are."""
        return names_of_ids(name, raw, splits)

    def output_shape(self, example: Example) -> tuple[int, ...]:
        self._each.check(example.n_outputs)
        return (example.n_outputs,)

    def has_classes(self, example: Example) -> bool:
        return True

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return self._each(output, target)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) if self._each.is_plain else super().loss(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import accuracy_score

        loss = self.loss(kept.double(), target)
        return {"loss": float(loss), "accuracy": float(accuracy_score(target.cpu(), kept.argmax(1).cpu()))}

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        return of_classes(output, data.class_names)

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        y = rows.y if rows.y.is_floating_point() else F.one_hot(rows.y, example.n_outputs)
        return y.to(like.dtype)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        wanted, given = data.test.y.tolist(), outputs.argmax(1).tolist()
        return [figures.confusion_matrix(wanted, given, data.class_names, folder / "confusion_matrix.png")]


def names_of_ids(name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
    """The classes by id; `DataError` unless the targets of every split are such ids, `(n,)`."""
    for part, (x, y, _) in splits.items():
        if y.ndim != 1 or y.dtype.kind not in "biu":
            raise wrong(
                name,
                f"y_{part} is {y.dtype} of shape {y.shape}; it needs integer class ids of shape "
                f"({len(x)},), such as np.unique(y, return_inverse=True)[1]",
            )
    return class_names(name, raw, {part: y for part, (_, y, _) in splits.items()})


def class_names(name: str, raw: RawData, labels: dict[str, np.ndarray]) -> list[str]:
    """By id; `DataError` if the labels of a split, `(n,)`, are not among them."""
    seen = np.unique(labels["train"])
    if raw.class_names is not None:
        names = [str(class_name) for class_name in raw.class_names]
    else:
        names = [str(c) for c in range(len(seen))]
        gap = next((c for c in range(len(seen)) if seen[c] != c), None)
        if gap is not None:
            raise wrong(
                name,
                f"y_train goes from {seen[0]} to {seen[-1]} but has no example of class {gap}; "
                "ids count from 0 without gaps, unless class_names says how many there are",
            )
    if len(names) < 2:
        raise wrong(name, f"it has {len(names)} class; classification needs two")
    for part, y in labels.items():
        bad = next((int(end) for end in (y.min(), y.max()) if not 0 <= end < len(names)), None)
        if bad is not None:
            raise wrong(name, f"y_{part} holds label {bad}; classes are 0 to {len(names) - 1}")
    return names
