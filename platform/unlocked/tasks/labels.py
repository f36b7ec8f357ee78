"""Labels that are each there or not: one (`binary_classification`), or several for one example (`multi_label`)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.losses import Each, LabelLoss, PerExample
from unlocked.tasks.predicting import Columns, of_labels
from unlocked_models.contract.batch import Batch, Example


class Labels(PerExample):
    """Outputs are logits `(batch, labels)`, targets 0 or 1 of the same shape; a label is given if its logit is above 0.

    `loss` binary_cross_entropy (its positive examples times `positive_weight`), focal (`gamma`) or hinge.
    """

    higher_is_better = True
    chooses = "labels"
    several: ClassVar[bool]

    def __init__(self, loss: str = "binary_cross_entropy", positive_weight: float = 1.0, gamma: float = 2.0):
        self._each: Each = LabelLoss(loss, positive_weight, gamma)

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y` is 0 and 1 alone, `(n,)` of one label, `(n, labels)` of several; `class_names`, if given, names them."""
        for part, (x, y, _) in splits.items():
            shape = f"({len(x)}, labels)" if self.several else f"({len(x)},)"
            if y.ndim != 1 + self.several or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
                raise wrong(name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs zeros and ones of shape {shape}")
        count = splits["train"][1].shape[1] if self.several else 1
        names = [str(i) for i in range(count)] if raw.class_names is None else [str(each) for each in raw.class_names]
        if len(names) != count:
            raise wrong(name, f"class_names names {len(names)} labels, y_train has {count} for each example")
        return names

    def targets(self, y: np.ndarray) -> Tensor:
        """`(n, labels)`"""
        return torch.from_numpy(y.astype(np.float32)).view(len(y), -1)

    def has_classes(self, example: Example) -> bool:
        return True

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return self._each(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import f1_score

        given, wanted = (kept > 0).cpu(), (target > 0).cpu()
        right = given == wanted
        found = {
            "loss": float(self.each(kept.double(), target).mean()),
            "accuracy": float(right.double().mean()),
            "f1": float(np.mean([f1_score(*pair, zero_division=0) for pair in zip(wanted.T, given.T, strict=True)])),
        }
        return found | ({"exact": float(right.all(1).double().mean())} if self.several else {})

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        return of_labels(output, data.class_names)

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y.to(like.dtype)


@register_task("binary_classification")
class Binary(Labels):
    """One label, such as ill or not: `y (n,)` of zeros and ones. Outputs, targets and losses as for `Labels`."""

    monitor = "accuracy"
    also = ("f1",)
    several = False
    by_class = True


@register_task("multi_label")
class MultiLabel(Labels):
    """Any number of labels for one example: `y (n, labels)` of zeros and ones. Outputs, targets and losses as for
    `Labels`. `accuracy` is over all labels of all examples, `exact` the share of examples whose labels are all right,
    `f1` the mean over labels of each label's own."""

    monitor = "f1"
    also = ("accuracy", "exact")
    several = True
