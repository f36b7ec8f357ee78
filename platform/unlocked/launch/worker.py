"""What runs inside one Ray actor: one module of one replica, or several.

Workers are tied to their peers by a process group, and by links where no pipeline moves the messages.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlocked.blame import refuse_users_fault
from unlocked.config import from_tree
from unlocked.data import DataSet
from unlocked.engine.clipping import Clipping, clipping
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked.engine.together import run_together
from unlocked.launch.pulse import Address, Pulse, PulseServer, take_pulse
from unlocked.network import open_store, talk_from
from unlocked.plan.blocks import build_net, device_of
from unlocked.plan.plan import Plan, load_data
from unlocked.plugins import enter


@dataclass(frozen=True)
class Introduction:
    """Where a worker runs."""

    host: str
    pid: int
    pulse: Address | None  # None: this machine does not let it listen


class Worker:
    """The actor's class; the driver's `RayGroup` calls it."""

    runner: ClassVar[type[ModuleRunner]] = ModuleRunner

    def __init__(self, folder: str, path: Sequence[str], imports: Sequence[str], threads: int):
        enter(folder, path, imports)
        torch.set_num_threads(threads)
        self._store: Any = None
        self._modules: list[Any] = []  # one, or those that a pipeline placed here, from the input up
        self._together: Any = None  # who runs the modules, if they do not simply tick one after the other
        self._clip: Clipping | None = None
        self._calls = 0  # begun and ended: odd while one runs
        self._pulse_server: PulseServer | None = None

    def introduce(self, secret: bytes) -> Introduction:
        """The driver's first call: the worker is up. `secret`: what whoever asks for its pulse has to know."""
        import ray.util

        host = ray.util.get_node_ip_address()
        if self._pulse_server is None:
            with contextlib.suppress(OSError):
                self._pulse_server = PulseServer(host, self._pulse)
        server = self._pulse_server
        if server is not None:
            server.secret = secret
        return Introduction(host, os.getpid(), server.address if server is not None else None)

    def _pulse(self) -> Pulse:
        return take_pulse(self._calls, max((module.tick for module in self._modules), default=0))

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        except BaseException as error:
            refuse_users_fault(error)
            raise
        finally:
            self._calls += 1

    def open_store(self, host: str, workers: int, timeout: float) -> int:
        """Opens the meeting point of the group; gives its port."""
        self._store = open_store(host, workers, timeout)
        out: int = self._store.port
        return out

    def prepare(
        self, tree: dict[str, Any], plan: Plan, rank: int, address: tuple[str, int], backend: str, data: DataSet | None
    ) -> None:
        """Joins the group, builds the modules, connects them; loads the data where the driver sent none."""
        import ray.util
        import torch.distributed as dist

        config = from_tree(tree)
        replicas = config.parallel.replicas
        place, replica = divmod(rank, replicas)  # of the worker along the net
        held = plan.held_by(place)
        timeout = timedelta(seconds=config.parallel.timeout)
        talk_from(ray.util.get_node_ip_address())
        store = self._store or dist.TCPStore(*address, plan.workers, timeout=timeout)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=plan.workers, timeout=timeout)
        data, device, shard = data or load_data(config), device_of(plan), (replica, replicas)
        if plan.nets:
            from unlocked.engine.apart import NetsApart

            nets = NetsApart(plan, data, place, device, shard)
            self._modules, self._together = [*nets.modules], nets
            self._average(plan, place)
            return
        blocks = build_net(plan, held)
        if config.parallel.schedule == "locked":
            from unlocked.engine.wiring import wire

            if len(held) > 1:
                data = replace(data, train=data.train.to(device))  # once for all modules
            self._modules = [self.runner(plan, data, module, device, shard, blocks) for module in held]
            store.set(f"node/{rank}", ray.get_runtime_context().get_node_id())
            nodes = [store.get(f"node/{peer}").decode() for peer in range(plan.workers)]
            ends = wire(plan, rank, device, backend, nodes, store)
            for runner in self._modules:
                runner.connect(ends[runner.learner.spec.index])
            asked = config.optimizer.clip_global is not None
            self._clip = clipping(plan, self._modules, _columns(plan)[replica]) if asked else None
        else:
            from unlocked.engine.pipelined import Pipeline, PipelinedModule  # torch's pipelines take seconds to import

            column = _columns(plan)[replica]
            data = replace(data, train=data.train.to(device))
            pipelined = [PipelinedModule(plan, data, module, device, shard, column, blocks) for module in held]
            self._modules, self._together = [*pipelined], Pipeline(plan, pipelined, column)
        self._average(plan, place)

    def _average(self, plan: Plan, place: int) -> None:
        """Over the replicas, which are one group for each worker along the net."""
        import torch.distributed as dist

        replicas, timeout = plan.config.parallel.replicas, timedelta(seconds=plan.config.parallel.timeout)
        if replicas == 1:
            return
        groups = [
            dist.new_group([p * replicas + r for r in range(replicas)], timeout=timeout)
            for p in range(plan.workers_per_replica)
        ]
        average = Average(groups[place], replicas)
        for each in self._modules:
            each.average_over(average.gradients, average.buffers)

    def run(self, start: int, stop: int, checkpoint_at: int) -> list[SegmentStats]:
        """Trains steps start..stop-1; the reports of the modules held here, from the input up."""
        with self._busy():
            if self._together is not None:
                found: list[SegmentStats] = self._together.run(start, stop, checkpoint_at)
                return found
            return run_together(self._modules, start, stop, checkpoint_at, self._clip)

    def call(self, slot: int, method: str, *args: Any) -> Any:
        """A method of one of the modules; everything else after `prepare` comes this way."""
        with self._busy():
            return getattr(self._modules[slot], method)(*args)

    def call_together(self, method: str, *args: Any) -> Any:
        """A method of what runs the modules here."""
        with self._busy():
            return getattr(self._together, method)(*args)

    def ask(self, slot: int, question: Callable[..., Any], *args: Any) -> Any:
        """A function of one of the modules, for measurements; it may take as long as it likes."""
        return question(self._modules[slot], *args)


def _columns(plan: Plan) -> list[Any]:
    """For each replica the group of its workers, in the order of the modules; every worker calls this at once."""
    import torch.distributed as dist

    replicas, timeout = plan.config.parallel.replicas, timedelta(seconds=plan.config.parallel.timeout)
    return [
        dist.new_group([p * replicas + r for p in range(plan.workers_per_replica)], timeout=timeout)
        for r in range(replicas)
    ]


class Average:
    """Means over the replicas of one module, in one message; every replica gets the same, to the last bit."""

    def __init__(self, group: Any, replicas: int):
        self._group, self._replicas = group, replicas

    def gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        import torch.distributed as dist

        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        flat = torch._utils._flatten_dense_tensors(gradients)
        dist.all_reduce(flat, group=self._group)
        flat /= self._replicas
        for gradient, mean in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
            gradient.copy_(mean)

    def buffers(self, buffers: Iterable[Tensor]) -> None:
        """Running statistics are means over minibatches, so their mean is that of all replicas' data.

        What is equal everywhere keeps its bits, infinities too: constants and masks are buffers as well.
        """
        import torch.distributed as dist

        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for buffer in buffers:
            if buffer.is_floating_point():
                by_dtype.setdefault(buffer.dtype, []).append(buffer)
        for mine in by_dtype.values():
            flat = torch._utils._flatten_dense_tensors(mine)
            of_all = [torch.empty_like(flat) for _ in range(self._replicas)]
            dist.all_gather(of_all, flat, group=self._group)
            stacked = torch.stack(of_all)
            mean = torch.where((stacked == stacked[0]).all(0), stacked[0], stacked.mean(0))
            for buffer, value in zip(mine, torch._utils._unflatten_dense_tensors(mean, mine), strict=True):
                buffer.copy_(value)
