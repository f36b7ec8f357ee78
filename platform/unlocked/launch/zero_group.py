"""Ray workers whose replicas share out what a module needs: the group of the engine `deepspeed`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from unlocked.engine.module import ModuleRunner
from unlocked.engine.zero import ZeroRunner
from unlocked.launch.ray_group import RayGroup
from unlocked.launch.worker import Average, Worker
from unlocked.plan.plan import Plan
from unlocked.zero_keys import WEIGHTS, stage_of


class ZeroWorker(Worker):
    """The actor's class."""

    runner: ClassVar[type[ModuleRunner]] = ZeroRunner

    def _average(self, plan: Plan, place: int) -> None:
        """The replicas of a worker along the net are one group; DeepSpeed needs that of every worker alone, too."""
        import torch.distributed as dist

        replicas, timeout = plan.config.parallel.replicas, timedelta(seconds=plan.config.parallel.timeout)
        groups = [
            dist.new_group([p * replicas + r for r in range(replicas)], timeout=timeout)
            for p in range(plan.workers_per_replica)
        ]
        alone = [dist.new_group([rank], timeout=timeout) for rank in range(plan.workers)]
        buffers = Average(groups[place], replicas).buffers if replicas > 1 else None
        for module in self._modules:
            module.shard(groups[place], alone[dist.get_rank()])
            module.average_buffers = buffers


class ZeroGroup(RayGroup):
    """As `RayGroup`; what needs whole weights is asked of all replicas at once."""

    worker: ClassVar[type[Worker]] = ZeroWorker

    def _first_replica(self) -> list[tuple[Any, int]]:
        if stage_of(self.plan.config.parallel.deepspeed) < WEIGHTS:
            return super()._first_replica()
        replicas, learners = self.plan.config.parallel.replicas, self._learners()
        return [
            (_Together([worker for worker, _ in learners[k : k + replicas]]), learners[k][1])
            for k in range(0, len(learners), replicas)
        ]


class _Together:
    """The workers of all replicas in place of the first: each is told the same, and its answer is that of the first."""

    def __init__(self, workers: list[Any]):
        self._workers = workers

    @property
    def call(self) -> _Together:
        return self

    def remote(self, slot: int, method: str, *args: Any) -> Any:
        first, *_ = [worker.call.remote(slot, method, *args) for worker in self._workers]
        return first
