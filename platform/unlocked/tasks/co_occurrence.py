"""Co-occurrence: GloVe's weighted least squares (Pennington et al. 2014, equation 8).

J = mean over pairs of  f(X_ij) (w_i . u_j + b_i + c_j - log X_ij)^2
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unlocked.data import RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.word_vectors import WordVectors
from unlocked_models.contract.batch import Example

BILINEAR = (
    "the score w_i . u_j + b_i + c_j is one bilinear block: there is no boundary inside it, so every scheme comes to "
    "backprop, and a control that learns its last module alone to the same"
)


@register_task("co_occurrence")
class CoOccurrence(WordVectors):
    """How often two words stand near each other: outputs are `(batch, 1)`, log X_ij as the net has it; targets
    `(batch, 2)` log X_ij and its weight. `r2` is the share of the variance of log X_ij that is explained, weighted."""

    monitor = "loss"
    higher_is_better = False
    also = ("r2",)
    refuses: ClassVar[dict[str, str]] = dict.fromkeys(("dni", "cdni", "dfa", "local", "frozen"), BILINEAR)

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x (n, 2)` is ids of `symbols`; `y (n, 2)` is real numbers, log X_ij and its weight, above 0."""
        for part, (x, y, _) in splits.items():
            if raw.symbols is None or x.shape[1:] != (2,) or y.shape != (len(x), 2) or y.dtype.kind != "f":
                raise wrong(
                    name,
                    f"x_{part} has shape {x.shape} and y_{part} is {y.dtype} of shape {y.shape}; pairs of words have "
                    "ids (n, 2) of symbols, and real numbers (n, 2): log X and its weight",
                )
            if not np.isfinite(y).all() or (y[:, 1] <= 0).any():
                raise wrong(name, f"y_{part} has values that are not finite, or weights that are not above 0")
        return ["log X"]

    def targets(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(y.astype(np.float32))

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (1,)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        log_x, weight = target.unbind(1)
        return (weight * (output[:, 0] - log_x).square()).mean()

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import r2_score

        log_x, weight = target.double().cpu().unbind(1)
        given = kept.double().cpu()
        r2 = r2_score(log_x.numpy(), given[:, 0].numpy(), sample_weight=weight.numpy()) if len(given) > 1 else 0.0
        return {"loss": float(self.loss(given, target.double().cpu())), "r2": float(r2)}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (1,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y[:, :1].to(like.dtype)
