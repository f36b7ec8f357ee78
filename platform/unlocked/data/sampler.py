"""Minibatches of a training split: the batch of global step t is a function of (seed, t) and nothing else.

So any worker draws the batch it needs alone, two workers that draw the same step agree, and a resumed run
goes on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlocked.data.dataset import Split
from unlocked.data.easy_first import competence, difficulty_of, drawn_from_easiest
from unlocked.data.rows.ahead import ReadAhead
from unlocked.data.rows.tensor import RowTensor
from unlocked.data.transform import PerExample, Transform, part, transformed
from unlocked.errors import DataError
from unlocked.seeding import derive_seed, step_seed
from unlocked_models.contract.batch import Batch, Extra, rows_of


class TrainBatches:
    """Seeded minibatches; every epoch is a fresh permutation, its last incomplete batch is dropped.

    With `carried`, for layers that go on where the last minibatch ended, row b of minibatch s of an epoch is example
    b * steps + s: every row reads a stretch of its own of an ordered split, in order, and no seed enters. Where the
    split is made of episodes of `stretch` examples, those are drawn, and every row of a minibatch is in one of its own.

    Args:
        split: the training split, on any device; orders are drawn on the CPU, so they do not depend on it.
        batch_size: of the global batch, over all replicas.
        seed: of the order and of the transforms.
        transforms: what every minibatch goes through.
        shard: `(r, R)`: replica r of R takes examples r, r + R, ... of each global batch. Transforms are
            drawn for the global batch, so R replicas together see exactly what one would.
        name: of the data set, for messages.
        begin: the step at which the first epoch of this split begins.
        steps: of the run, of which a step is so much `progress`; None: not known.
        easy_first: the share of the run over which examples come in, the easy ones first; see `data.easy_first`.
        measured: how hard they are `order` says, before every epoch; until then epochs are permutations.

    Raises `DataError` for a batch larger than the split, `ValueError` for a shard that does not fit.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        transforms: Sequence[Transform] = (),
        shard: tuple[int, int] = (0, 1),
        name: str = "the data set",
        carried: bool = False,
        stretch: int | None = None,
        begin: int = 0,
        steps: int | None = None,
        easy_first: float | None = None,
        measured: bool = False,
    ):
        n, (replica, replicas) = len(split), shard
        if batch_size < 1:
            raise DataError(f"data.batch_size: must be at least 1, got {batch_size}")
        if batch_size > n:
            raise DataError(f"data.batch_size: {batch_size} is larger than the {n} training examples of {name}")
        if not 0 <= replica < replicas:
            raise ValueError(f"shard {shard}: the replica must be one of 0 to {replicas - 1}")
        if batch_size % replicas:
            raise ValueError(f"batch size {batch_size} does not divide among {replicas} replicas")
        self._episodes = carried and stretch is not None
        self._stretch = stretch if carried and stretch else 1
        if batch_size > n // self._stretch:
            raise DataError(
                f"data.batch_size: {batch_size} is larger than the {n // self._stretch} training episodes of {name}"
            )
        self.batch_size = batch_size
        self.steps_per_epoch = n // self._stretch // batch_size * self._stretch
        self._begin = begin
        self._x, self._y, self._extras = split.x, split.y, split.extras
        self._seed, self._transforms, self._shard, self._carried = seed, transforms, shard, carried
        self._x_alone = all(transform.changes_x_alone for transform in transforms)
        # transforms of several examples at once see the whole minibatch, of which a replica then takes its part
        self._whole = shard[1] > 1 and not all(isinstance(transform, PerExample) for transform in transforms)
        self._seeds: dict[str, int] = {}  # by purpose
        self._latest: tuple[int, Batch] | None = None  # step, and its batch after the transforms
        self._steps = steps
        self._easy_first, self._measured = easy_first, measured
        self._difficulty = None if easy_first is None or measured else difficulty_of(split)
        self._epochs: dict[int, tuple[Tensor, ...]] = {}  # a pipeline needs both sides of an epoch's end
        self._ahead: ReadAhead | None = None
        if isinstance(split.x, RowTensor):
            source, read, draws = split.x.source, split.x.read, derive_seed(seed, "examples")
            self._ahead = ReadAhead(
                self._rows,
                self._is_known,
                lambda step, rows: read(rows, step_seed(draws, step)),
                source.ahead,
                source.readers,
            )

    def order(self, difficulty: Tensor) -> None:
        """How hard each example is from the next epoch on, `(n,)`; no step of that may have been drawn."""
        self._difficulty = difficulty
        if self._ahead is not None:
            self._ahead.forget()

    def indices(self, step: int) -> Tensor:
        """Rows of the split in this replica's part of batch `step`, `(batch_size / R,)` int64; a view."""
        replica, replicas = self._shard
        return self._rows(step)[replica::replicas] if self._whole else self._rows(step)

    def _rows(self, step: int) -> Tensor:
        epoch, position = divmod(step - self._begin, self.steps_per_epoch)
        batches = self._epochs.get(epoch)
        return (batches or self._draw(epoch))[position]

    def x(self, step: int) -> Tensor:
        """Inputs `(batch_size / R, *in_shape)` of batch `step`, transformed; not to be changed in place."""
        if not self._transforms:
            return self._x_of(step)
        x = self._transformed(step).x
        assert x is not None
        return x

    def _x_of(self, step: int) -> Tensor:
        return self._x.index_select(0, self._rows(step)) if self._ahead is None else self._ahead.take(step)

    def _is_known(self, step: int) -> bool:
        """Before its turn: it is not past the end of the run, and its order depends on nothing learnt until then."""
        is_drawn = (step - self._begin) // self.steps_per_epoch in self._epochs
        return (self._steps is None or step < self._steps) and (is_drawn or not self._measured)

    def y(self, step: int) -> Tensor:
        """Targets `(batch_size / R, ...)` of batch `step`, in the order of `x(step)`."""
        return self._y.index_select(0, self.indices(step)) if self._x_alone else self._transformed(step).y

    def extras(self, step: int) -> Mapping[str, Extra]:
        """What else there is of the examples of batch `step`, by name."""
        if not self._x_alone:
            return self._transformed(step).extras
        return rows_of(self._extras, self.indices(step)) if self._extras else {}

    def progress(self, step: int) -> float:
        """How much of the run lies before batch `step`."""
        return step / self._steps if self._steps else 1.0

    def _transformed(self, step: int) -> Batch:
        held = self._latest
        if held is None or held[0] != step:
            rows = self._rows(step)
            x, y = self._x_of(step), self._y.index_select(0, rows)
            batch = Batch(x, y, progress=self.progress(step), extras=rows_of(self._extras, rows))
            shard = (0, 1) if self._whole else self._shard
            batch = transformed(self._transforms, batch, lambda purpose: self._seed_of(purpose, step), shard)
            self._latest = held = step, part(batch, self._shard) if self._whole else batch
        return held[1]

    def _seed_of(self, purpose: str, step: int) -> int:
        if purpose not in self._seeds:
            self._seeds[purpose] = derive_seed(self._seed, purpose)
        return step_seed(self._seeds[purpose], step)

    def fresh(self, step: int) -> bool:
        """Whether streams begin with batch `step`; each is one of its own unless `carried`."""
        if not self._carried:
            return True
        position = (step - self._begin) % self.steps_per_epoch
        return position % self._stretch == 0 if self._stretch > 1 or self._episodes else position == 0

    def _draw(self, epoch: int) -> tuple[Tensor, ...]:
        if epoch < 0:
            raise IndexError("steps count from 0")
        replica, replicas = (0, 1) if self._whole else self._shard
        used = self.steps_per_epoch * self.batch_size
        if self._carried and not self._episodes:
            order = torch.arange(used).view(self.batch_size, -1).t().flatten()
        else:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "epoch", epoch))
            if self._difficulty is not None and self._easy_first is not None:
                part_of_all = competence(self.progress(self._begin + epoch * self.steps_per_epoch), self._easy_first)
                drawn = drawn_from_easiest(self._difficulty, part_of_all, used, self.batch_size, generator)
            else:
                drawn = torch.randperm(len(self._y) // self._stretch, generator=generator)[: used // self._stretch]
            starts = drawn.view(-1, 1, self.batch_size) * self._stretch
            order = (starts + torch.arange(self._stretch)[:, None]).flatten()
        mine = order.view(self.steps_per_epoch, -1)[:, replica::replicas]  # (steps, batch_size / R)
        batches = mine.contiguous().to(self._y.device).unbind(0)
        near = {kept: rows for kept, rows in self._epochs.items() if abs(kept - epoch) == 1}
        self._epochs = {**near, epoch: batches}  # replaced, not changed: another thread may be reading it
        return batches


def eval_rows(n: int, batch_size: int, carried: bool = False, stretch: int | None = None) -> list[tuple[Tensor, bool]]:
    """Rows that cover 0 to n, at most `batch_size` at a time, and whether streams begin with them.

    In order, or, `carried`, along stretches: of `stretch` rows each, or (None) as many stretches of the whole split as
    fit. Each row of an entry goes on where that row of the entry before it ended; where stretches end, it is the last
    rows of an entry that are missing.

    >>> [rows.tolist() for rows, _ in eval_rows(5, 2)]
    [[0, 1], [2, 3], [4]]
    >>> [rows.tolist() for rows, _ in eval_rows(5, 2, carried=True)]
    [[0, 3], [1, 4], [2]]
    >>> [(rows.tolist(), fresh) for rows, fresh in eval_rows(6, 2, carried=True, stretch=2)]
    [([0, 2], True), ([1, 3], False), ([4], True), ([5], False)]
    """
    if batch_size < 1:
        raise DataError(f"data.batch_size: must be at least 1, got {batch_size}")
    if not carried:
        return [(rows, True) for rows in torch.arange(n).split(batch_size)]
    if stretch is not None:
        return [
            (starts + i, i == 0) for starts in torch.arange(0, n, stretch).split(batch_size) for i in range(stretch)
        ]
    steps = -(-n // batch_size)
    return [(torch.arange(step, n, steps), step == 0) for step in range(steps)]


def in_order(rows: list[tuple[Tensor, bool]], outs: list[Tensor]) -> Tensor:
    """What was computed for each of `eval_rows`, in the order of the split."""
    whole = torch.cat(outs)
    out = torch.empty_like(whole)
    out[torch.cat([each for each, _ in rows])] = whole
    return out
