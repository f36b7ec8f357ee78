"""What runs inside one Ray actor: one module of one replica, tied to its peers by a process group and links."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from unlocked.config import from_tree
from unlocked.data import DataSet
from unlocked.engine.plan import Plan, device_of, load_data
from unlocked.engine.stage import Stage
from unlocked.plugins import import_modules


class Worker:
    """The actor's class; the driver's `RayGroup` calls it."""

    def __init__(self, folder: str, path: Sequence[str], imports: Sequence[str], threads: int):
        # the driver's folder and import path: ./data and an --import'ed module are found as they were there
        with contextlib.suppress(OSError):  # another machine may not have that folder
            os.chdir(folder)
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
        import_modules(imports)
        torch.set_num_threads(threads)
        self._store: Any = None
        self._stage: Stage | None = None

    def address(self) -> str:
        import ray.util

        return ray.util.get_node_ip_address()

    def open_store(self, host: str, workers: int, timeout: float) -> int:
        """Opens the meeting point of the group; gives its port."""
        import torch.distributed as dist

        self._store = dist.TCPStore(host, 0, workers, is_master=True, wait_for_workers=False,
                                    timeout=timedelta(seconds=timeout))
        return self._store.port

    def prepare(self, tree: dict[str, Any], plan: Plan, rank: int, address: tuple[str, int], backend: str,
                data: DataSet | None) -> None:
        """Joins the group, builds the module, connects the links; loads the data where the driver sent none."""
        import ray
        import torch.distributed as dist

        from unlocked.engine.wiring import wire

        config = from_tree(tree)
        replicas = config.parallel.replicas
        stage, replica = divmod(rank, replicas)
        timeout = timedelta(seconds=config.parallel.timeout)
        store = self._store or dist.TCPStore(*address, plan.workers, timeout=timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=plan.workers, timeout=timeout)
        data, device = data or load_data(config), device_of(plan)
        if config.parallel.schedule == "locked":
            self._stage = Stage(plan, data, stage, device, shard=(replica, replicas))
            store.set(f"node/{rank}", ray.get_runtime_context().get_node_id())
            nodes = [store.get(f"node/{peer}").decode() for peer in range(plan.workers)]
            self._stage.connect(wire(plan, rank, device, backend, nodes, store))
        else:
            from unlocked.engine.pipelined import PipelinedStage  # torch's pipelines take seconds to import

            columns = [dist.new_group([s * replicas + r for s in range(plan.stages)], timeout=timeout)
                       for r in range(replicas)]
            self._stage = PipelinedStage(plan, data, stage, device, (replica, replicas), columns[replica])
        if replicas > 1:
            groups = [dist.new_group([s * replicas + r for r in range(replicas)]) for s in range(plan.stages)]
            self._stage.learner.reduce = _Average(groups[stage], replicas)

    def call(self, method: str, *args: Any) -> Any:
        """A method of the stage; everything after `prepare` comes this way."""
        return getattr(self._stage, method)(*args)

    def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """A function of the stage, for what only measurements want to know."""
        return question(self._stage, *args)


class _Average:
    """Averages gradients over the replicas of one module, in one message."""

    def __init__(self, group: Any, replicas: int):
        self._group, self._replicas = group, replicas

    def __call__(self, parameters: list[nn.Parameter]) -> None:
        import torch.distributed as dist

        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = torch._utils._flatten_dense_tensors(gradients)
        dist.all_reduce(flat, group=self._group)
        flat /= self._replicas
        for gradient, mean in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
            gradient.copy_(mean)
