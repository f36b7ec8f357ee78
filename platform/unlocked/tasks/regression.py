"""Regression: the mean squared error of one or several real values."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unlocked.tasks.base import TASKS, Rows, Task
from unlocked_models.contract.batch import Example


@TASKS.register("regression")
class Regression(Task):
    """Outputs and targets are `(batch, values)`; forecasts of a series too, one value per step ahead."""

    monitor = "rmse"
    higher_is_better = False

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

        given, wanted = kept.double().cpu().numpy(), target.double().cpu().numpy()
        mse = float(mean_squared_error(wanted, given))
        return {
            "loss": mse,
            "rmse": mse**0.5,
            "mae": float(mean_absolute_error(wanted, given)),
            "r2": float(r2_score(wanted, given)),
        }

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y.to(like.dtype)
