"""The workers of a run behind one interface, whatever the engine; and those of the engine in this process.

The training loop knows only this. `InProcessGroup` replays, with the same learners and the same schedule,
what K workers do: same numbers, one process, under a debugger if you like.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unlocked.data import DataSet, eval_rows, in_order
from unlocked.engine.clipping import clipping
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked.engine.statistics import passes
from unlocked.engine.together import connect_in_process
from unlocked.errors import RunFailed
from unlocked.plan.blocks import build_net, device_of
from unlocked.plan.plan import Plan
from unlocked.schemes import Alignment

EVALUATION_BATCH = 1000  # examples at once, at most
EVALUATION_NUMBERS = 10_000_000  # of one boundary at once: a language model's outputs are large

Segment = tuple[int, int]  # steps start..stop-1


class WorkerFailed(RunFailed):
    """A worker died or raised; `detail` is its own traceback. The group was ended as a whole.

    `may_pass`: the machine or the network failed, not the program, so a restart may succeed.
    """

    def __init__(self, message: str, detail: str, may_pass: bool):
        super().__init__(message)
        self.detail, self.may_pass = detail, may_pass


class Group(ABC):
    """All modules of a run, on their workers: what an engine (`unlocked.engines`) trains with.

    A failure of a worker ends the group and raises `WorkerFailed`; the run may then start another one.
    """

    @abstractmethod
    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = (), again: bool = False):
        """Starts and prepares the workers.

        Args:
            imports: the user's modules, for workers to import.
            again: a group of this run was lost before, and with it perhaps a node.
        """

    @staticmethod
    def failure_in(error: Exception) -> WorkerFailed | None:
        """The failure of workers behind an exception; None if it comes from elsewhere."""
        return error if isinstance(error, WorkerFailed) else None

    @staticmethod
    def last_words(text: str) -> None:
        """To be printed if the engine itself has to end this process; empty: nothing more to say."""
        return

    @abstractmethod
    def run(self, segments: Iterable[Segment], checkpoint_at: int) -> Iterator[list[SegmentStats]]:
        """Trains the segments in order and gives the modules' reports of each as it ends.

        `checkpoint_at`: the step after which `states` may be called next; no earlier than the next one.
        """

    @abstractmethod
    def estimate_statistics(self, t: int) -> None:
        """Running statistics of modules that train on synthetic inputs, after t steps, for an evaluation or a
        checkpoint: see `engine/statistics.py`. Nothing to do for any other run."""

    @abstractmethod
    def outputs(self, split: str) -> Tensor:
        """What the task keeps of the chain's outputs in evaluation mode, on the CPU, in the order of the split."""

    @abstractmethod
    def probe(self) -> dict[int, Alignment]:
        """Per module that injects a gradient: how it stands to the true one on the probe batch."""

    @abstractmethod
    def states(self, t: int) -> list[dict[str, Any]]:
        """One per module and replica, module by module, after t steps."""

    @abstractmethod
    def load_states(self, states: list[dict[str, Any]]) -> None: ...

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Weights of the whole chain, for an evaluation."""

    @abstractmethod
    def set_level(self, data: DataSet, level: int, begin: int) -> None:
        """Trains on `data`, the same set at another level of its curriculum, from step `begin` on."""

    def scale_rates(self, factor: float) -> None:
        """Multiplies all learning rates, of whatever schedule, from the next step on."""
        raise RunFailed(f"{type(self).__name__} cannot change learning rates: optimizer.schedule=plateau needs it to")

    def order(self, difficulty: list[int]) -> None:
        """How hard each training example is, from the next epoch on."""
        raise RunFailed(f"{type(self).__name__} cannot order examples: data.easy_by=loss needs it to")

    @abstractmethod
    def nonfinite(self) -> tuple[int, str] | None:
        """The first module with a parameter that is not finite, and its name."""

    @abstractmethod
    def close(self) -> None: ...


def evaluation_rows(plan: Plan, data: DataSet, split: str) -> list[tuple[Tensor, bool]]:
    """Rows of a split, as many at once as memory should hold, and whether streams begin with them."""
    n = len(getattr(data, split))
    largest = max(math.prod(spec.out_shape) for spec in plan.specs)
    at_once = max(1, min(EVALUATION_BATCH, EVALUATION_NUMBERS // largest))
    if plan.carries and data.stretch is None:  # few long ones: the beginning of each lacks what was before it
        at_once = min(at_once, plan.config.data.batch_size, max(1, n // 8))
    return eval_rows(n, at_once, plan.carries, data.stretch)


class InProcessGroup(Group):
    """Every module in this process, one tick after the other."""

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = (), again: bool = False):
        if plan.config.parallel.threads is not None:
            torch.set_num_threads(plan.config.parallel.threads)
        device = device_of(plan)
        self.data = data
        self.modules = self._make_modules(plan, data, device)
        connect_in_process(self.modules)
        self._clip = clipping(plan, self.modules)

    def _make_modules(self, plan: Plan, data: DataSet, device: torch.device) -> Sequence[ModuleRunner]:
        blocks = build_net(plan, range(plan.modules))
        return [ModuleRunner(plan, data, k, device, blocks=blocks) for k in range(plan.modules)]

    def run(self, segments: Iterable[Segment], checkpoint_at: int) -> Iterator[list[SegmentStats]]:
        for start, stop in segments:
            for module in self.modules:
                module.begin(start, stop, checkpoint_at)
            if len(self.modules) == 1:
                tick = self.modules[0].forward_phase
                for t in range(start, stop):
                    tick(t)
            else:
                for t in range(start, stop):
                    self.tick(t)
            yield [module.end(start, stop) for module in self.modules]

    def tick(self, t: int) -> None:
        """Minibatch t, and what comes back about the one `lag` before it."""
        for module in self.modules:
            module.forward_phase(t)
        for module in reversed(self.modules):
            module.feedback_phase(t)
        if self._clip is not None:
            self._clip()

    def estimate_statistics(self, t: int) -> None:
        last = max((k for k, module in enumerate(self.modules) if module.has_statistics()), default=0)
        for steps, nth in passes(self.modules[0].plan, t) if last else ():
            hs = None
            for k, module in enumerate(self.modules[: last + 1]):
                hs = module.estimate(steps, nth, hs, k < last)

    def outputs(self, split: str) -> Tensor:
        outs, each = [], evaluation_rows(self.modules[0].plan, self.data, split)
        for rows, fresh in each:
            h = None
            for module in self.modules:
                h = module.evaluate(split, rows, fresh, h)
            assert h is not None
            outs.append(h.cpu())
        return in_order(each, outs)

    def probe(self) -> dict[int, Alignment]:
        h = None
        for module in self.modules:
            h = module.probe_forward(h)
        delta, e = self.modules[-1].probe_loss()
        found = {}
        for k in reversed(range(len(self.modules))):
            below, alignment = self.modules[k].probe_backward(delta, e)
            if alignment is not None:
                found[k] = alignment
            if below is not None:
                delta = below
        return dict(sorted(found.items()))

    def states(self, t: int) -> list[dict[str, Any]]:
        return [module.state(t) for module in self.modules]

    def load_states(self, states: list[dict[str, Any]]) -> None:
        for module, state in zip(self.modules, states, strict=True):
            module.load_state(state)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for module in self.modules:
            module.load_weights(weights)

    def set_level(self, data: DataSet, level: int, begin: int) -> None:
        self.data = data
        for module in self.modules:
            module.set_level(level, begin)

    def scale_rates(self, factor: float) -> None:
        for module in self.modules:
            module.scale_rates(factor)

    def order(self, difficulty: list[int]) -> None:
        for module in self.modules:
            module.order(difficulty)

    def nonfinite(self) -> tuple[int, str] | None:
        for k, module in enumerate(self.modules):
            name = module.nonfinite()
            if name is not None:
                return k, name
        return None

    def close(self) -> None: ...
