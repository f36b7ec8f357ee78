"""Recall of stored patterns from disturbed ones: what an associative memory does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.drawing import pictures
from unlocked.tasks.base import Rows, Task, register_task
from unlocked.tasks.predicting import Columns
from unlocked_models.associative import AssociativeMemory
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain

FOUND = 0.95  # overlap from which a pattern counts as recalled
SHOWN = 10  # examples of the figure
MOST_SIDE = 64  # of what is drawn


@register_task("pattern_recall")
class PatternRecall(Task):
    """Outputs are the states in which a memory comes to rest, targets the stored patterns, both of 0 and 1.

    With s and x the same as -1 and 1, `overlap` is the mean of s.x / N, 1 if every unit is right, and `recalled` the
    share of the examples whose overlap is at least 0.95. The loss is 1 - overlap.
    """

    monitor = "overlap"
    higher_is_better = True
    also = ("recalled",)

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x` and `y (n, units)` are 0 and 1, a unit for every number of an input."""
        for part, (x, y, _) in splits.items():
            if y.ndim != 2 or y.shape != (len(x), int(np.prod(x.shape[1:]))):
                raise wrong(name, f"y_{part} is of shape {y.shape}; it needs a number for each of an input's")
            for what, values in (("x", x), ("y", y)):
                if not np.isin(values, (0, 1)).all():
                    raise wrong(name, f"{what}_{part} is not all 0 or 1")
        return [str(i) for i in range(splits["train"][1].shape[1])]

    def targets(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(y.astype(np.float32))

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        if isinstance(blocks[-1], AssociativeMemory):
            return None
        return "gives no states of 0 and 1; pattern_recall needs an associative memory (model.name=hopfield_classic)"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def has_classes(self, example: Example) -> bool:
        return False

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return 1 - overlaps(output, target).mean()

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        each = overlaps(kept.double(), target.to(kept.device).double())
        overlap = float(each.mean())
        return {"loss": 1 - overlap, "overlap": overlap, "recalled": float((each >= FOUND).double().mean())}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """Of the first copy of each of the first patterns: as stored, as shown, as recalled."""
        shape = data.in_shape
        if len(shape) != 3 or max(shape[1:]) > MOST_SIDE:
            return []
        copies = len(data.test) // len(data.train) or 1
        at = torch.arange(0, len(data.test), copies)[:SHOWN]
        kinds = (data.test.y[at], data.test.x[at], outputs[at])
        rows = [[*kind.reshape(-1, *shape).double().cpu().numpy()] for kind in kinds]
        return [
            pictures.examples(
                rows, folder / "recalled.png", "Patterns recalled", (0.0, 1.0), ["stored", "shown", "recalled"]
            )
        ]

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """How many units have turned; the outputs themselves are the states."""
        assert batch.x is not None
        return {"turned": (output != batch.x.flatten(1)).sum(1).tolist()}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y.to(like.dtype)


def overlaps(states: Tensor, patterns: Tensor) -> Tensor:
    """Of each, `(n,)`, both of 0 and 1."""
    return ((2 * states - 1) * (2 * patterns - 1)).mean(1)
