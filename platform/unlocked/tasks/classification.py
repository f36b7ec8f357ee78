"""Classification into exclusive classes: cross entropy, accuracy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unlocked.tasks.base import TASKS, Task


@TASKS.register("classification")
class Classification(Task):
    """Outputs are logits `(batch, classes)`, targets class ids `(batch,)`."""

    monitor = "accuracy"
    higher_is_better = True

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output, y)

    def metrics(self, output: Tensor, y: Tensor) -> dict[str, float]:
        from sklearn.metrics import accuracy_score

        loss = F.cross_entropy(output.double(), y)
        return {"loss": float(loss), "accuracy": float(accuracy_score(y.cpu(), output.argmax(1).cpu()))}

    def context(self, y: Tensor, n_outputs: int, like: Tensor) -> Tensor:
        return F.one_hot(y, n_outputs).to(like.dtype)
