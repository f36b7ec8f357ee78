"""An exponential moving average of a module's weights, which is evaluated and saved in their place (`train.average`).

After every update  a = d a + (1 - d) w,  from a = w after the first (Polyak & Juditsky 1992; torch's
`get_ema_multi_avg_fn`). Buffers, such as running statistics, are those of the weights that train.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    def __init__(self, parameters: Sequence[nn.Parameter], decay: float):
        self._parameters = list(parameters)
        self._move = get_ema_multi_avg_fn(decay)
        self._values: list[Tensor] | None = None  # None: the weights themselves

    @torch.no_grad()
    def update(self) -> None:
        if self._values is None:
            self._values = [p.detach().clone() for p in self._parameters]
        else:
            self._move(self._values, self._parameters, None)

    def restart(self) -> None:
        """From the weights as they are: they were loaded."""
        self._values = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module has the averages as its weights."""
        if self._values is None:
            yield
            return
        kept = [p.detach().clone() for p in self._parameters]
        self._copy(self._values)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for p, value in zip(self._parameters, values, strict=True):
            p.copy_(value)

    def state(self) -> dict[str, Any]:
        return {
            "average": None if self._values is None else [value.clone() for value in self._values],
            "weights": [p.detach().clone() for p in self._parameters],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        average = state["average"]
        self._copy(state["weights"])
        like = self._parameters
        self._values = None if average is None else [a.to(p) for a, p in zip(average, like, strict=True)]
