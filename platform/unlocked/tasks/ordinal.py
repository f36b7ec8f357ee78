"""Classes in an order, such as grades: one logit for each boundary between two (Frank & Hall 2001; Niu et al. 2016).

sigmoid(z_k) = P(y > k)    k = 0 .. classes - 2,    loss: mean over k of the cross entropy of z_k and [y > k]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.loading.checks import Arrays
from unlocked.errors import ConfigError
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.classification import names_of_ids
from unlocked.tasks.losses import PerExample
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import Batch, Example


@register_task("ordinal")
class Ordinal(PerExample):
    """Outputs are logits `(batch, classes - 1)`, targets class ids `(batch,)`; the class is how many logits are above
    0. `mae` is how many classes it is away from the true one."""

    monitor = "mae"
    higher_is_better = False
    also = ("accuracy",)
    by_class = True

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y (n,)` is integer class ids from 0, in their order; outputs stand for what is above a class."""
        return [f"above {each}" for each in names_of_ids(name, raw, splits)[:-1]]

    def output_shape(self, example: Example) -> tuple[int, ...]:
        if example.y_shape:
            raise ConfigError("data.transforms: mixed classes are no class in an order; ordinal takes no mixup")
        return (example.n_outputs,)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        above = _above(target, output.shape[1]).to(output.dtype)
        return F.binary_cross_entropy_with_logits(output, above, reduction="none").mean(1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        away = ((kept > 0).sum(1) - target).abs().double()
        loss = self.each(kept.double(), target).mean()
        return {"loss": float(loss), "mae": float(away.mean()), "accuracy": float((away == 0).double().mean())}

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """Classes by their place in the order, from 0."""
        above = output.double().sigmoid()
        columns: Columns = {"prediction": (output > 0).sum(1).tolist()}
        return columns | {f"p({name})": above[:, i].tolist() for i, name in enumerate(data.class_names)}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return _above(rows.y, example.n_outputs).to(like.dtype)


def _above(target: Tensor, boundaries: int) -> Tensor:
    """`(batch, boundaries)`: whether the class lies above each."""
    return target[:, None] > torch.arange(boundaries, device=target.device)
