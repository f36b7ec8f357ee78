"""Pipelined backprop: the modules work on different microbatches of one minibatch, and its gradient stays exact.

`torch.distributed.pipelining` runs the schedule over K workers, each gives it its own slices of the chain.

* gpipe (Huang et al. 2019, arXiv 1811.06965): all microbatches forward, then all backward.
* 1f1b (Narayanan et al. 2021, arXiv 2104.04473, section 2.2): a backward as soon as there is one to do, so module k
  of K (counted from 0) keeps K - k microbatches at most.
* interleaved (in the same section): 1f1b over V modules per worker, worker r has modules r, r + K, r + 2K, ...; the
  pipeline fills and drains in steps 1/V as long, for V times the messages.
* interleaved_zero_bubble (Qi et al. 2024, arXiv 2401.10241, their ZB-1p, over the modules of interleaved): the backward
  pass is split. The gradient of a module's input goes down at once, that of its weights is computed while the worker
  would wait.
* zero_bubble (their ZB-V, section 6): split too, over two modules per worker in a V: worker r has r and 2K - 1 - r, so
  that of the input has the loss as well. If forward and both parts of the backward pass take the same time, no worker
  waits between its first and its last microbatch; it takes 2K - 1 microbatches to fill.

With M microbatches of equal size the minibatch's gradient is the mean of theirs, also where some positions have no
target (`Task.part_loss`). Batch statistics are taken and
dropout masks drawn per microbatch, so with those layers a run differs from the locked one; between the schedules it
differs only with the cut.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
)

from unlocked.data import DataSet
from unlocked.engine.clipping import clipping
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked.engine.spans import Spans, fill_gaps
from unlocked.plan.pipelines import detachable
from unlocked.plan.plan import Plan
from unlocked.schemes import ModuleLearner
from unlocked_models.contract.batch import Batch

SCHEDULES: dict[str, Any] = {
    "gpipe": ScheduleGPipe,
    "1f1b": Schedule1F1B,
    "interleaved": ScheduleInterleaved1F1B,
    "interleaved_zero_bubble": ScheduleInterleavedZeroBubble,
    "zero_bubble": ScheduleZBVZeroBubble,
}


class PipelinedModule(ModuleRunner):
    """A stage without links: a `Pipeline` moves its messages and drives it.

    Its `waited` is the time in the schedule in which its worker computed no forward, backward or loss, of whichever
    module. Waiting, sending and torch's bookkeeping cannot be told apart there; `sent` is 0. On a GPU these are the
    host's times.

    Args:
        group: the process group of this replica's workers, in the order of the modules.
    """

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        module: int,
        device: torch.device,
        shard: tuple[int, int],
        group: Any,
        blocks: Sequence[nn.Module] | None = None,
    ):
        super().__init__(plan, data, module, device, shard, blocks)
        parallel, spec = plan.config.parallel, self.learner.spec
        self._microbatches = parallel.microbatch_count()
        rows = plan.config.data.batch_size // parallel.replicas // self._microbatches

        def like(shape: tuple[int, ...], requires_grad: bool) -> Tensor:
            ids = spec.is_first and not requires_grad and spec.example.vocabulary is not None
            return torch.empty(
                rows, *shape, dtype=torch.long if ids else self.dtype, device="meta", requires_grad=requires_grad
            )

        self._forward = _Forward(self.learner)
        # shapes are given: torch would else find them by running a microbatch, which moves batch statistics
        self.slice = _Slice(
            self._forward,
            spec.index,
            spec.modules,
            device,
            group=group,
            input_args=like(spec.in_shape, not spec.is_first),
            output_args=like(spec.out_shape, True),
        )
        self.slice.rows, self.slice.spans = rows, self.spans
        self.idle = 0.0  # seconds

    def prepare(self, t: int) -> None:
        """Before the microbatches of minibatch t."""
        self._t = self.learner.at = self.slice.t = t
        if self._lr_factor is not None:
            self._set_lr(t)
        self._forward.microbatch = t * self._microbatches

    def inputs(self, t: int) -> tuple[Tensor, ...]:
        return (self._x(t),) if self.learner.spec.is_first else ()

    def target(self, t: int) -> Tensor | None:
        if not self.learner.spec.is_last:
            return None
        batch = self._batch(t, None)
        self._of = batch.whole
        return self.learner.task.target(batch)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Of a microbatch of the minibatch whose `target` was asked for last."""
        task, whole = self.learner.task, self._of
        return task.loss(output, target) if whole is None else task.part_loss(output, target, whole)

    def _waited(self) -> float:
        return self.idle


class Pipeline:
    """The modules of one worker: all microbatches of a minibatch in torch's order, then an optimiser step of each.

    Args:
        modules: those that this worker holds, from the input up.
        group: as of `PipelinedModule`.
    """

    def __init__(self, plan: Plan, modules: list[PipelinedModule], group: Any):
        parallel, self.modules = plan.config.parallel, modules
        self._clip = clipping(plan, modules, group)
        self._slices = [module.slice for module in modules]
        held = self._slices if plan.modules > plan.workers_per_replica else self._slices[0]
        # only the last module has the loss; the others' schedules learn by it that there is a backward pass
        loss = self._slices[-1].timed(modules[-1].loss, "forward")
        self._schedule = SCHEDULES[parallel.schedule](held, parallel.microbatch_count(), loss)

    def run(self, start: int, stop: int, checkpoint_at: int) -> list[SegmentStats]:
        """Steps start..stop-1; the report of each module."""
        for module in self.modules:
            module.begin(start, stop, checkpoint_at)
        before = [piece.busy for piece in self._slices]
        for t in range(start, stop):
            self._step(t)
        busy = [piece.busy - seconds for piece, seconds in zip(self._slices, before, strict=True)]
        return [
            replace(module.end(start, stop), others=sum(busy) - mine)
            for module, mine in zip(self.modules, busy, strict=True)
        ]

    def _step(self, t: int) -> None:
        first, last, losses = self.modules[0], self.modules[-1], list[Tensor]()
        for module in self.modules:
            module.prepare(t)
        inputs, target = first.inputs(t), last.target(t)
        begin, clock, busy = time.perf_counter(), time.time(), self._busy()
        self._schedule.step(*inputs, target=target, losses=losses, return_outputs=False)
        idle = time.perf_counter() - begin - (self._busy() - busy)
        fill_gaps([module.spans for module in self.modules if module.spans is not None], t, clock, time.time())
        if losses:
            last.learner.record("loss", torch.stack(losses).detach().mean())
        for module in self.modules:
            module.idle += idle
            module.slice.timed(module.learner.update, "update")()
        if self._clip is not None:
            self._clip()

    def _busy(self) -> float:
        return sum(piece.busy for piece in self._slices)


class _Forward(nn.Module):
    """The module as the schedule calls it: one microbatch of h in, one out.

    `microbatch` counts from the start of the run. Every schedule takes a module's microbatches forward in their
    order, so random layers draw from (seed, module, microbatch) alone, whatever else the worker runs in between.
    """

    microbatch = 0

    def __init__(self, learner: ModuleLearner):
        super().__init__()
        self.chain = learner.chain  # its parameters' gradients are what torch divides by M
        self._run, self._seed = learner.run_chain, learner.seed_step
        self._batch = Batch(None, torch.empty(0))  # no block asks for it: the plan refuses those that would

    def forward(self, h: Tensor) -> Tensor:
        self._seed(self.microbatch)
        self.microbatch += 1
        return detachable(self._run(h, self._batch)[0])


class _Slice(PipelineStage):
    """torch's stage, which knows how long it computed: `busy` seconds."""

    busy = 0.0
    rows = 0  # examples in a microbatch
    spans: Spans | None = None
    t = 0

    def timed(self, compute: Any, what: str) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                result = compute(*args, **kwargs)
            except RuntimeError as error:  # torch hides a block's own error behind a dump of its arguments
                raise error.__cause__ or error from None
            seconds = time.perf_counter() - begin
            self.busy += seconds
            if self.spans is not None:
                now = time.time()
                self.spans.add(what, self.t, now - seconds, now)
            return result

        return run

    def forward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        return self.timed(super().forward_one_chunk, "forward")(*args, **kwargs)

    def backward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        return self.timed(super().backward_one_chunk, "backward")(*args, **kwargs)

    def _get_init_p2p_neighbors_ops(self) -> list[Any]:
        """torch 2.11 greets all neighbours, in the fold of a V itself, to which gloo cannot send."""
        return [op for op in super()._get_init_p2p_neighbors_ops() if op.group_peer != self.group_rank]

    def backward_weight_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        self.timed(super().backward_weight_one_chunk, "backward")(*args, **kwargs)
        if self.rows == 1:  # a weight of h's shape is given the very gradient that goes down, and would be added to it
            for p in self.submod.parameters():
                p.grad = p.grad.clone() if p.grad is not None else None
