"""Regression of one or several real values: the mean squared error, or another loss by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.data.loading.targets import BASE
from unlocked.data.transforms.disturbed import Standardise
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.losses import Each, PerExample, value_loss
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import Batch, Example


@register_task("regression")
class Regression(PerExample):
    """Outputs and targets are `(batch, values)`; forecasts of a series too, one value per step ahead.

    `loss` mse, mae or huber, which is quadratic up to `delta` and linear beyond. With `data.transforms=[standardise]`
    it is of standardised targets; other metrics stay in their own units.
    """

    monitor = "rmse"
    higher_is_better = False
    chooses = "values"

    def __init__(self, loss: str = "mse", delta: float = 1.0):
        self._each: Each = value_loss(loss, delta)
        self._is_plain = loss == "mse"

    def take(self, own: Any) -> None:
        super().take(own)
        self._is_plain = False

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y (n,)` or `(n, values)` is real values, taken as they are; `class_names`, if given, names each."""
        for part, (x, y, _) in splits.items():
            _check_values(name, part, y, len(x))
        y = splits["train"][1]
        count = y.shape[1] if y.ndim == 2 else 1
        names = [str(i) for i in range(count)] if raw.class_names is None else list(raw.class_names)
        if len(names) != count:
            raise wrong(name, f"class_names names {len(names)} values, y_train has {count} for each example")
        return names

    def targets(self, y: np.ndarray) -> Tensor:
        """`(n, values)`"""
        return torch.from_numpy(y.astype(np.float32)).view(len(y), -1)

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target) if self._is_plain else super().loss(output, target)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return self._each(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

        given, wanted = kept.double().cpu().numpy(), target.double().cpu().numpy()
        mse = float(mean_squared_error(wanted, given))
        return {
            "loss": mse if self._is_plain else float(self.loss(kept.double(), target.double())),
            "rmse": mse**0.5,
            "mae": float(mean_absolute_error(wanted, given)),
            "r2": float(r2_score(wanted, given)),
        }

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        """In the targets' own units, but for the loss."""
        target = self.target(getattr(data, split))
        return self.metrics(*self.scored(kept, target, data)) | {"loss": self.metrics(kept, target)["loss"]}

    def scored(self, kept: Tensor, target: Tensor, data: DataSet) -> tuple[Tensor, Tensor]:
        for transform in reversed(data.transforms):
            if isinstance(transform, Standardise):
                kept, target = transform.undone(kept.double()), transform.undone(target.double())
        return kept, target

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        values, _ = self.scored(output.double(), batch.y, data)
        base = batch.extras.get(BASE)
        if isinstance(base, Tensor):
            values = values + base.to(values)
        single = len(data.class_names) == 1
        return {"prediction" if single else name: values[:, i].tolist() for i, name in enumerate(data.class_names)}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y.to(like.dtype)


def _check_values(name: str, part: str, y: np.ndarray, n: int) -> None:
    if y.ndim not in (1, 2) or y.dtype.kind not in "biuf" or y.size == 0:
        raise wrong(
            name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs real values of shape ({n},) or ({n}, values)"
        )
    if not np.isfinite(y).all():
        first = int(np.argwhere(~np.isfinite(y))[0, 0])
        raise wrong(name, f"y_{part} has values that are not finite, the first in example {first}")
    if np.abs(y.astype(np.float64)).max() > np.finfo(np.float32).max:
        raise wrong(name, f"y_{part} has values that do not fit float32")
