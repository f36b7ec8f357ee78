"""Pipelined backprop: the modules work on different microbatches of one minibatch, and its gradient stays exact.

`torch.distributed.pipelining` runs the schedule, each worker gives it its own slice of the chain.

* gpipe (Huang et al. 2019, arXiv 1811.06965): all microbatches forward, then all backward.
* 1f1b (Narayanan et al. 2021, arXiv 2104.04473, section 2.2): a backward as soon as there is one to do, so module k
  of K (counted from 0) keeps K - k microbatches at most.

With M microbatches of equal size the minibatch's gradient is the mean of theirs; batch statistics and dropout masks
are drawn per microbatch, so with those layers a run differs from the locked one.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from unlocked.data import DataSet
from unlocked.engine.plan import Plan
from unlocked.engine.stage import Stage
from unlocked.schemes import ModuleLearner
from unlocked_models.chain import Batch

SCHEDULES: dict[str, type[ScheduleGPipe | Schedule1F1B]] = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


class PipelinedStage(Stage):
    """A stage without links: at its tick it runs all microbatches of the minibatch, then takes its optimiser step.

    Its `waited` is the time in the schedule outside this module's own forward, backward and loss. Waiting, sending
    and torch's bookkeeping cannot be told apart there; `sent` is 0. On a GPU these are the host's times.

    Args:
        group: the process group of this replica's modules, in their order.
    """

    def __init__(self, plan: Plan, data: DataSet, stage: int, device: torch.device, shard: tuple[int, int],
                 group: Any):
        super().__init__(plan, data, stage, device, shard)
        parallel, part = plan.config.parallel, self.learner.part
        microbatches = parallel.microbatch_count()
        rows = plan.config.data.batch_size // parallel.replicas // microbatches

        def like(shape: tuple[int, ...], requires_grad: bool) -> Tensor:
            return torch.empty(rows, *shape, dtype=self.dtype, device="meta", requires_grad=requires_grad)

        # shapes are given: torch would else find them by running a microbatch, which moves batch statistics
        self._slice = _Slice(_Forward(self.learner), part.index, part.modules, device, group=group,
                             input_args=like(part.in_shape, not part.is_first), output_args=like(part.out_shape, True))
        self._schedule = SCHEDULES[parallel.schedule](self._slice, microbatches, self._slice.timed(self._loss))
        self._outside = 0.0

    def forward_phase(self, t: int) -> None:
        if self._lr_factor is not None:
            self._set_lr(t)
        self.learner.seed_step(t)
        part, losses = self.learner.part, list[Tensor]()
        inputs = (self._x(t),) if part.is_first else ()
        target = self.batches.y(t) if part.is_last else None
        begin, busy = time.perf_counter(), self._slice.busy
        self._schedule.step(*inputs, target=target, losses=losses, return_outputs=False)
        self._outside += time.perf_counter() - begin - (self._slice.busy - busy)
        if part.is_last:
            self.learner.record("loss", torch.stack(losses).detach().mean())
        self.learner.update()

    def _loss(self, h: Tensor, y: Tensor) -> Tensor:
        return self.learner.task.loss(h, y)

    def _waited(self) -> float:
        return self._outside


class _Forward(nn.Module):
    """The module as the schedule calls it: one microbatch of h in, one out."""

    def __init__(self, learner: ModuleLearner):
        super().__init__()
        self.chain = learner.chain  # its parameters' gradients are what torch divides by M
        self._run = learner.run_chain
        self._batch = Batch(None, torch.empty(0))  # no block asks for it: the plan refuses those that would

    def forward(self, h: Tensor) -> Tensor:
        return self._run(h, self._batch)[0].contiguous()


class _Slice(PipelineStage):
    """torch's stage, which knows how long it computed: `busy` seconds."""

    busy = 0.0

    def timed(self, compute: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = compute(*args, **kwargs)
            self.busy += time.perf_counter() - begin
            return result

        return run

    def forward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.timed(super().forward_one_chunk)(*args, **kwargs)
        except RuntimeError as error:  # torch hides a block's own error behind a dump of its arguments
            raise error.__cause__ or error from None

    def backward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        return self.timed(super().backward_one_chunk)(*args, **kwargs)
