"""Evaluation splits that transforms draw once, of rows that are read when asked for: choices are kept, and inputs made.

The choices are those of all examples at once, as in memory, so a row is what memory would have held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from unlocked.data.rows.tensor import Prepare, RowTensor
from unlocked.data.transform import PerExample, Transform
from unlocked.errors import DataError
from unlocked_models.contract.batch import Batch, Extra, rows_of


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows after one transform; `choices`, `y` and `extras` are of all rows, before it."""

    before: Prepare
    transform: PerExample
    choices: tuple[Tensor, ...]
    y: Tensor
    extras: Mapping[str, Extra]

    def batch(self, raw: np.ndarray, rows: np.ndarray) -> Batch:
        index = torch.from_numpy(rows)
        batch = Batch(self.before(raw, rows), self.y[index], extras=rows_of(self.extras, index))
        return self.transform.apply(batch, *(choice[index] for choice in self.choices))

    def __call__(self, raw: np.ndarray, rows: np.ndarray) -> Tensor:
        x = self.batch(raw, rows).x
        assert x is not None
        return x


def drawn_by_row(transforms: Sequence[Transform], batch: Batch, seed_of: Callable[[str], int]) -> Batch:
    """As `transformed`, of inputs that are a `RowTensor`: targets and extras are made in one pass over them.

    Raises `DataError`, one line, for a transform that needs all inputs at once.
    """
    generators: dict[str, Generator] = {}
    for transform in transforms:
        name = type(transform).__name__
        purpose = transform.purpose or type(transform).__qualname__
        generator = generators.setdefault(purpose, Generator().manual_seed(seed_of(purpose)))
        try:
            is_alone = isinstance(transform, PerExample) and isinstance(batch.x, RowTensor)
            batch = _by_row(transform, batch, generator) if is_alone else transform(batch, generator)  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(
                f"data.transforms: {name} draws for all of an evaluation split at once, and its rows are read when "
                "asked for; data.options.memory=loaded holds them, if they fit"
            ) from error
    return batch


def _by_row(transform: PerExample, batch: Batch, generator: Generator) -> Batch:
    x = batch.x
    assert isinstance(x, RowTensor)
    choices = transform.draw(len(batch.y), batch, generator)
    drawn = Drawn(x.prepare, transform, choices, batch.y, batch.extras)
    ys: list[Tensor] = []
    extras: dict[str, list[Tensor]] = {}
    shape, dtype = x.shape[1:], x.dtype
    for rows, raw in x.raw_blocks():
        after = drawn.batch(raw, rows)
        assert after.x is not None
        ys.append(after.y)
        shape, dtype = after.x.shape[1:], after.x.dtype
        for key, extra in after.extras.items():
            if not isinstance(extra, Tensor):
                raise DataError(f"{key} is ragged")
            extras.setdefault(key, []).append(extra)
    word = hashlib.sha256(f"{x.content} {type(transform).__qualname__} {sorted(vars(transform).items())!r}".encode())
    for choice in choices:
        word.update(choice.contiguous().numpy().tobytes())
    made = RowTensor(x.source, drawn, word.hexdigest(), dtype, x.device, tuple(shape))
    return Batch(made, torch.cat(ys), extras={key: torch.cat(each) for key, each in extras.items()})
