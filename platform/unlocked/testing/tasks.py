"""What every task keeps: a loss that is a mean, metrics that its runs can be judged by."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.tasks import Task, make_task
from unlocked.testing.runs import made


class TaskContract:
    """Inherit, name the task and give data of it:

    class TestMine(TaskContract):
        task = "mine"

        def data(self):
            return ...      # a DataSet whose own task it is
    """

    task: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}  # keys under `objective.`

    def data(self) -> DataSet:
        return made()

    def made_task(self) -> Task:
        return make_task(self.task, self.options)

    def output(self, data: DataSet, rows: int) -> Tensor:
        """Of a net that knows nothing, for the first rows of the training split."""
        shape = self.made_task().output_shape(data.example)
        return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def test_it_takes_its_data(self) -> None:
        task, data = self.made_task(), self.data()
        assert task.misfit(data.task, data.example) is None
        assert task.unsuited(data.train.x) is None

    def test_the_loss_is_one_finite_number_with_a_gradient(self) -> None:
        task, data = self.made_task(), self.data()
        out = self.output(data, 6).requires_grad_()
        loss = task.loss(out, task.target(data.train.batch(torch.arange(6))))
        assert loss.shape == (), "the loss is one number"
        (e,) = torch.autograd.grad(loss, out)
        assert bool(loss.isfinite())
        assert bool(e.isfinite().all())
        assert bool(e.any()), "no output has a part in the loss"

    def test_the_loss_is_a_mean_over_examples(self) -> None:
        """Of a minibatch that holds every example twice it is the same; not asked of one that couples examples."""
        task, data = self.made_task(), self.data()
        if task.couples:
            return
        once = torch.arange(6)
        twice, out = torch.cat([once, once]), self.output(data, 6)
        one = task.loss(out, task.target(data.train.batch(once)))
        two = task.loss(torch.cat([out, out]), task.target(data.train.batch(twice)))
        torch.testing.assert_close(one, two)

    def test_metrics_are_finite_and_have_the_loss_and_the_monitor(self) -> None:
        task, data = self.made_task(), self.data()
        rows = data.test
        out = self.output(data, len(rows))
        target = task.target(rows)
        found = task.metrics(task.keep(out, target), target)
        assert {"loss", task.monitor} <= found.keys(), f"metrics are {sorted(found)}"
        assert all(math.isfinite(value) for value in found.values())

    def test_the_context_has_the_shape_that_it_says(self) -> None:
        task, data = self.made_task(), self.data()
        batch = data.train.batch(torch.arange(4))
        context = task.context(batch, data.example, torch.zeros(4, 3, dtype=torch.float64))
        assert tuple(context.shape) == (4, *task.context_shape(data.example))
        ids = task.context_ids(data.example)
        if ids is None:
            assert context.dtype is torch.float64, "real numbers come in the dtype of `like`"
        else:
            assert 0 <= int(context.min()) <= int(context.max()) < ids
