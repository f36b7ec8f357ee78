"""Classification into exclusive classes: cross entropy, accuracy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unlocked.tasks.base import TASKS, Rows, Task
from unlocked_models.contract.batch import Example


@TASKS.register("classification")
class Classification(Task):
    """Outputs are logits `(batch, classes)`, targets class ids `(batch,)`."""

    monitor = "accuracy"
    higher_is_better = True

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import accuracy_score

        loss = F.cross_entropy(kept.double(), target)
        return {"loss": float(loss), "accuracy": float(accuracy_score(target.cpu(), kept.argmax(1).cpu()))}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return F.one_hot(rows.y, example.n_outputs).to(like.dtype)
