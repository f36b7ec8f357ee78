"""Two processes that train one net together, in each of several ways: the workers of `unlocked bench deepspeed`."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, cast

import torch
from torch import Tensor, nn

from unlocked.config import Config, from_tree, to_dict
from unlocked.data import DataSet
from unlocked.engine.module import ModuleRunner
from unlocked.engine.zero import ZeroRunner
from unlocked.engine.zero_costs import held, ring, tensors_in
from unlocked.errors import RunFailed
from unlocked.launch.worker import Average
from unlocked.network import open_store, talk_from
from unlocked.plan.blocks import build_net
from unlocked.plan.make import make_plan
from unlocked.plan.plan import Plan, load_data
from unlocked.plugins import import_modules
from unlocked_models.contract.batch import Batch

HOST = "127.0.0.1"
STAGE = "parallel.deepspeed.zero_optimization.stage"
TIMEOUT = 600.0  # seconds without a word, after which a worker counts as lost
NEVER = 2**60  # the step of the next checkpoint: none is taken


@dataclass(frozen=True)
class Held:
    """Bytes of tensors by one worker, without the buffers of messages."""

    weights: int
    gradients: int  # between a backward pass and the step
    states: int  # of the optimiser
    copies: int  # of weights, which ZeRO's optimiser moves
    sent: float  # per step, by collectives, counted as in a ring of the workers

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.states + self.copies


class Pair:
    """The two, started anew; they end with `close`, and with this process."""

    def __init__(self, configs: dict[str, Config], imports: Sequence[str] = ()):
        """`configs`: of each way, by name. Those under which nobody shares anything out are `ddp` and `replicas`."""
        context = get_context("spawn")  # a copy of this process would hold its locks and threads
        self._store = open_store(HOST, 2, TIMEOUT)
        trees = {name: to_dict(config) for name, config in configs.items()}
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for rank in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, rank, self._store.port, trees, list(imports)), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        try:
            self._hear()
        except BaseException:
            self.close()
            raise

    def run(self, name: str, steps: int) -> list[float]:
        return cast(list[float], self._ask("run", name, steps))

    def held(self, name: str) -> list[Held]:
        return cast(list[Held], self._ask("held", name))

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, *words: Any) -> list[Any]:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(words)
        return self._hear()

    def _hear(self) -> list[Any]:
        """What each says; what one could not do ends the measurement."""
        found = []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(TIMEOUT):
                raise RunFailed(f"bench deepspeed: worker {rank} was silent for {TIMEOUT:.0f} s")
            try:
                failed, answer = pipe.recv()
            except (EOFError, OSError):
                raise RunFailed(f"bench deepspeed: worker {rank} has ended") from None
            if failed:
                raise RunFailed(f"bench deepspeed: worker {rank} failed:\n{answer}")
            found.append(answer)
        return found


# in the workers -------------------------------------------------------------------------------------------


class Plainly:
    """One way of training: on whole weights, with gradients averaged by `average`, or by DDP."""

    def __init__(self, runner: ModuleRunner):
        self.runner, self._t, self._gradients = runner, 0, 0
        learner = runner.learner
        reduce = learner.reduce or (lambda parameters: None)

        def averaged(parameters: list[nn.Parameter]) -> None:
            reduce(parameters)
            self._gradients = held(p.grad for p in parameters if p.grad is not None)

        learner.reduce = averaged

    def run(self, steps: int) -> float:
        start, self._t = self._t, self._t + steps
        return self.runner.run(start, self._t, NEVER).seconds

    def held(self) -> Held:
        learner = self.runner.learner
        states = (optimizer.state.values() for optimizer in learner.optimizers())
        return Held(
            held(p for module in learner.inner_modules() for p in module.parameters()),
            self._gradients,
            held(tensors_in([value for each in states for value in each])),
            0,
            ring("all_reduce", 2) * self._gradients,
        )


class SharedOut:
    """Another: by ZeRO."""

    def __init__(self, runner: ZeroRunner):
        self.runner, self._t, self._sent = runner, 0, 0.0

    def run(self, steps: int) -> float:
        start, self._t = self._t, self._t + steps
        stats = self.runner.run(start, self._t, NEVER)
        self._sent = 2**20 * stats.series["traffic/sent_mib"][-1]
        return stats.seconds

    def held(self) -> Held:
        return Held(**self.runner.bytes(), sent=self._sent)


class _Forward(nn.Module):
    """The learner's own forward pass, as what DDP wraps."""

    def __init__(self, runner: ModuleRunner):
        super().__init__()
        self.chain, self._run = runner.learner.chain, runner.learner.run_chain

    def forward(self, h: Tensor, batch: Batch, after: Any = None) -> tuple[Tensor, Tensor | None]:
        return self._run(h, batch, after)


def trained_by(name: str, plan: Plan, data: DataSet, rank: int, alone: Any) -> Plainly | SharedOut:
    """One of two workers; both call this at once. `alone`: the group of this one."""
    import torch.distributed as dist

    blocks, shard, device = build_net(plan, [0]), (rank, 2), torch.device("cpu")
    if name not in ("ddp", "replicas"):
        sharing = ZeroRunner(plan, data, 0, device, shard, blocks)
        sharing.shard(dist.group.WORLD, alone)
        return SharedOut(sharing)
    runner = ModuleRunner(plan, data, 0, device, shard, blocks)
    if name == "replicas":
        average = Average(dist.group.WORLD, 2)
        runner.average_over(average.gradients, average.buffers)
    else:
        wrapped = nn.parallel.DistributedDataParallel(_Forward(runner), gradient_as_bucket_view=True)
        runner.learner.run_chain = wrapped  # type: ignore[method-assign]
    return Plainly(runner)


def _serve(pipe: Connection, rank: int, port: int, trees: dict[str, dict[str, Any]], imports: list[str]) -> None:
    """The whole life of a worker: does what it is told until its pipe closes."""
    import torch.distributed as dist

    ways: dict[str, Plainly | SharedOut] = {}

    def start() -> None:
        import_modules(imports)
        torch.set_num_threads(1)
        talk_from(HOST)
        timeout = timedelta(seconds=TIMEOUT)
        store = dist.TCPStore(HOST, port, 2, timeout=timeout)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timeout)
        alone = [dist.new_group([r], timeout=timeout) for r in range(2)][rank]
        configs = {name: from_tree(tree) for name, tree in trees.items()}
        data = load_data(next(iter(configs.values())))
        for name, config in configs.items():
            ways[name] = trained_by(name, make_plan(config, data), data, rank, alone)

    def told(work: Callable[[], Any]) -> bool:
        try:
            pipe.send((False, work()))
        except Exception:  # whatever it is, the driver tells it
            pipe.send((True, traceback.format_exc()))
            return False
        return True

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        if told(start):
            while (words := pipe.recv()) is not None and told(lambda: _answer(ways, *words)):
                pass


def _answer(ways: dict[str, Plainly | SharedOut], word: str, name: str, *given: Any) -> Any:
    return getattr(ways[name], word)(*given)
