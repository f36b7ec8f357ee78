"""DeepSpeed's own pipeline (`PipelineModule`) over the same modules, microbatches and optimiser as torch's 1f1b.

Its order is 1f1b, too. Every worker holds one module as one layer of DeepSpeed's; messages go by its own `p2p`.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from unlocked.deepspeed_package import import_deepspeed, missing
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked.launch.ray_group import RayGroup
from unlocked.plan.plan import Plan

NAME, LIKE = "deepspeed_1f1b", "1f1b"  # the schedule of torch's with the same order


def why_not(plan: Plan) -> str | None:
    """Why it cannot train this net; None: it can."""
    if (why := missing()) is not None:
        return why
    if plan.config.train.precision != "fp32":
        return f"train.precision: {plan.config.train.precision}; DeepSpeed's pipeline is measured in fp32"
    return None


class DeepSpeedPipeline:
    """Goes on with its training at every turn."""

    def __init__(self, group: RayGroup, plan: Plan):
        self.group, self.plan, self._t = group, plan, 0

    def run(self, steps: int) -> list[SegmentStats]:
        start, self._t = self._t, self._t + steps
        return self.group.ask(train, start, self._t)


_STAGES: dict[int, _Stage] = {}  # of this worker, by its module


def train(module: ModuleRunner, start: int, stop: int) -> SegmentStats:
    """All workers at once."""
    if id(module) not in _STAGES:
        _STAGES[id(module)] = _Stage(module)
    return _STAGES[id(module)].train(start, stop)


class _Stage:
    """One worker's module, in DeepSpeed's engine."""

    def __init__(self, module: ModuleRunner):
        self._module, self._waited, self._sent = module, 0.0, 0.0
        deepspeed = import_deepspeed("cpu")
        from deepspeed.pipe import LayerSpec, PipelineModule
        from deepspeed.runtime.pipe import p2p

        config, learner, spec = module.plan.config, module.learner, module.learner.spec
        self._microbatches = config.parallel.microbatch_count()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its layers
            deepspeed.init_distributed("gloo", auto_mpi_discovery=False, dist_init_required=False)
            net = PipelineModule(
                layers=[LayerSpec(_Held, learner.chain if k == spec.index else None) for k in range(spec.modules)],
                num_stages=spec.modules,
                loss_fn=learner.task.loss,
                partition_method="uniform",
            )
            self._engine = deepspeed.initialize(
                model=net,
                optimizer=learner.optimizer,
                config={
                    "train_micro_batch_size_per_gpu": config.data.batch_size // self._microbatches,
                    "gradient_accumulation_steps": self._microbatches,
                    "zero_allow_untested_optimizer": True,
                    "steps_per_print": 2**31,
                },
                dist_init_required=False,
            )[0]
        p2p.send, p2p.recv = self._timed(p2p.send, "_sent"), self._timed(p2p.recv, "_waited")

    def train(self, start: int, stop: int) -> SegmentStats:
        self._waited = self._sent = 0.0
        given, losses = self._minibatches(start, stop), list[Tensor]()
        begin = time.perf_counter()
        for _ in range(start, stop):
            losses.append(self._engine.train_batch(given).detach())
        seconds = time.perf_counter() - begin
        series = {"loss": [float(loss) for loss in losses]}
        return SegmentStats(start, stop, seconds, self._waited, self._sent, series=series)

    def _minibatches(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of every microbatch; a worker between the ends asks for none."""
        for t in range(start, stop):
            batch = self._module.minibatch(t)
            assert batch.x is not None
            target = self._module.learner.task.target(batch)
            yield from zip(batch.x.chunk(self._microbatches), target.chunk(self._microbatches), strict=True)

    def _timed(self, move: Callable[..., Any], where: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return move(*args, **kwargs)
            finally:
                setattr(self, where, getattr(self, where) + time.perf_counter() - begin)

        return timed


class _Held(nn.Module):
    """A module's blocks as one layer; of other workers' modules none is made."""

    def __init__(self, chain: nn.Module):
        super().__init__()
        self.chain = chain

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.chain(h)
        return out
