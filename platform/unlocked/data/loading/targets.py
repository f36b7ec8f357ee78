"""What loading asks of a data set's task about its raw targets; tasks themselves are known to the rooms above."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor

from unlocked.data.dataset import RawData
from unlocked.data.loading.checks import Arrays

BASE = "base"  # the extra that is added to forecasts, whose targets are differences to it


class Targets(Protocol):
    """The part of a task that reads targets; `unlocked.tasks.Task` has it."""

    by_class: ClassVar[bool]  # what is set aside of a split is drawn class by class

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """The names of what the outputs stand for: classes, values or tokens.

        `DataError`, one line, for raw targets that are none of the task's; inputs have been checked.
        """
        ...

    def targets(self, y: np.ndarray) -> Tensor:
        """Checked targets `(n, ...)` as a split holds them: int64 ids or float32 values."""
        ...
