"""Minibatches of a training split: the batch of global step t is a function of (seed, t) and nothing else.

So any worker draws the batch it needs alone, two workers that draw the same step agree, and a resumed run
goes on exactly where it stopped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlocked.data.augment import Augment
from unlocked.data.dataset import Split
from unlocked.errors import DataError
from unlocked.seeding import derive_seed, step_seed


class TrainBatches:
    """Seeded minibatches; every epoch is a fresh permutation, its last incomplete batch is dropped.

    Args:
        split: the training split, on any device; orders are drawn on the CPU, so they do not depend on it.
        batch_size: of the global batch, over all replicas.
        seed: of the order and of the augmentation.
        augment: applied to `x` only.
        shard: `(r, R)`: replica r of R takes examples r, r + R, ... of each global batch. Augmentation is
            drawn for the global batch, so R replicas together see exactly what one would.
        name: of the data set, for messages.

    Raises `DataError` for a batch larger than the split, `ValueError` for a shard that does not fit.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, augment: Augment | None = None,
                 shard: tuple[int, int] = (0, 1), name: str = "the data set"):
        n, (replica, replicas) = len(split), shard
        if batch_size < 1:
            raise DataError(f"data.batch_size: {batch_size} is not at least 1")
        if batch_size > n:
            raise DataError(
                f"data.batch_size: {batch_size} is larger than the {n} training examples of {name}")
        if not 0 <= replica < replicas:
            raise ValueError(f"shard {shard}: the replica must be one of 0 to {replicas - 1}")
        if batch_size % replicas:
            raise ValueError(f"batch size {batch_size} does not divide among {replicas} replicas")
        self.batch_size = batch_size
        self.steps_per_epoch = n // batch_size
        self._x, self._y = split.x, split.y
        self._seed, self._augment, self._shard = seed, augment, shard
        self._augment_seed = derive_seed(seed, "augment")
        self._epochs: dict[int, tuple[Tensor, ...]] = {}      # a pipeline needs both sides of an epoch's end

    def indices(self, step: int) -> Tensor:
        """Rows of the split in this replica's part of batch `step`, `(batch_size / R,)` int64; a view."""
        epoch, position = divmod(step, self.steps_per_epoch)
        batches = self._epochs.get(epoch)
        return (batches or self._draw(epoch))[position]

    def x(self, step: int) -> Tensor:
        """Inputs `(batch_size / R, *in_shape)` of batch `step`, augmented; always a fresh tensor."""
        x = self._x.index_select(0, self.indices(step))
        if self._augment is None:
            return x
        return self._augment(x, step_seed(self._augment_seed, step), self._shard)

    def y(self, step: int) -> Tensor:
        """Targets `(batch_size / R,)` of batch `step`, in the order of `x(step)`."""
        return self._y.index_select(0, self.indices(step))

    def _draw(self, epoch: int) -> tuple[Tensor, ...]:
        if epoch < 0:
            raise IndexError("steps count from 0")
        replica, replicas = self._shard
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "epoch", epoch))
        order = torch.randperm(len(self._y), generator=generator)[: self.steps_per_epoch * self.batch_size]
        mine = order.view(self.steps_per_epoch, -1)[:, replica::replicas]      # (steps, batch_size / R)
        batches = mine.contiguous().to(self._y.device).unbind(0)
        near = {kept: rows for kept, rows in self._epochs.items() if abs(kept - epoch) == 1}
        self._epochs = {**near, epoch: batches}      # replaced, not changed: another thread may be reading it
        return batches


def eval_slices(n: int, batch_size: int) -> list[slice]:
    """Slices that cover 0 to n in order, the last one as short as it must be.

    >>> eval_slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if batch_size < 1:
        raise DataError(f"data.batch_size: {batch_size} is not at least 1")
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
