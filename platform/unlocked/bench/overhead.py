"""What the platform adds to a training step: the training loop of `unlocked train` against a plain one.

Both train the same network from the same weights, on the same rows in the same order, with the same fused
optimiser, on one module under backprop; the plain loop is what a careful PyTorch user writes by hand, with
a flat `nn.Sequential` and its batch order drawn beforehand. Their losses must be equal to the last bit.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.bench import noise as _noise  # noqa: F401  (registers the data)
from unlocked.bench.measure import Spread, in_rounds, paired
from unlocked.config import Config, from_tree
from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.engine.loop import Silent, _Run
from unlocked.engine.plan import Plan, build_blocks, load_data, make_plan
from unlocked.engine.run_folder import RunFolder
from unlocked.errors import RunFailed
from unlocked.optim import build_optimizer
from unlocked.tracking import Recorder, Tracker

LOG_EVERY = 50


@dataclass(frozen=True)
class Case:
    n_in: int
    hidden: list[int]
    batch: int
    examples: int

    @property
    def name(self) -> str:
        return "-".join(["mlp", *map(str, [self.n_in, *self.hidden, 10])]) + f"-b{self.batch}"


CASES = [Case(784, [256, 256], 64, 60_000), Case(784, [256, 256], 256, 60_000), Case(64, [64, 64], 32, 1_797)]


@dataclass(frozen=True)
class Cost:
    """Of one case, over the rounds."""

    name: str
    steps: int  # per round, of each of the two
    rate: Spread  # steps per second under `unlocked`
    plain_rate: Spread
    ratio: Spread  # rate / plain_rate, paired
    added: Spread  # microseconds per step over the plain loop, paired
    foreign: list[float | None]


def measure(case: Case, rounds: int = 7, threads: int = 1, seconds: float = 1.0) -> Cost:
    """`rounds` rounds of about `seconds` for each of the two, which alternate every `LOG_EVERY` steps.

    Raises `RunFailed` when the two did not compute the same losses.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="unlocked-bench-") as runs, _contenders(case, runs) as pair:
            return _measure(case, rounds, seconds, *pair)
    finally:
        torch.set_num_threads(before)


def _measure(case: Case, rounds: int, seconds: float, ours: _Ours, plain: _Plain) -> Cost:
    step = 0

    def both(turns: int) -> tuple[float, float]:
        nonlocal step
        plain.draw(step + turns * LOG_EVERY)
        spent = [0.0, 0.0]
        for i in range(turns):
            stop = step + LOG_EVERY
            for which in (0, 1) if i % 2 else (1, 0):
                begin = time.perf_counter()
                (ours, plain)[which].train(step, stop)
                spent[which] += time.perf_counter() - begin
            if any(loss != _mean(plain.losses[start - step:end - step]) for start, end, loss in ours.losses):
                raise RunFailed(f"bench overhead: {case.name}: the two loops disagree on the losses of "
                                f"steps {step} to {stop - 1}; the comparison would mean nothing")
            step = stop
        return spent[0], spent[1]

    warm = sum(both(2)) / 4
    turns = max(1, round(seconds / warm))
    done = in_rounds(rounds, lambda: both(turns), note=lambda text: None)
    times = done.results
    steps = turns * LOG_EVERY
    rates, plain_rates = [steps / a for a, _ in times], [steps / b for _, b in times]
    return Cost(case.name, steps, Spread.of(rates), Spread.of(plain_rates), paired(rates, plain_rates),
                Spread.of([1e6 * (a - b) / steps for a, b in times]), done.foreign)


@contextmanager
def _contenders(case: Case, folder: str) -> Iterator[tuple[_Ours, _Plain]]:
    config = _config(case, folder)
    data = load_data(config)
    plan = make_plan(config, data)
    ours = _Ours(plan, data)
    try:
        yield ours, _Plain(plan, data, ours.group.stages[0].batches.indices)
    finally:
        ours.close()


class _Ours(Silent):
    """The training loop itself, with what it does behind every segment; its spool is written, not sent."""

    def __init__(self, plan: Plan, data: DataSet):
        self.losses: list[tuple[int, int, float]] = []  # start, stop and mean loss of the segments of a turn
        self.group = InProcessGroup(plan, data)
        self._run = _Run(plan, data, RunFolder.create(plan.config), [], self, time.time())
        self._run.tracker = Tracker(Recorder(self._run.folder.path), None)

    def train(self, start: int, stop: int) -> None:
        self.losses, self._start = [], start
        self._run._run_segments(self.group, stop)

    def segment(self, step: int, values: dict[str, float]) -> None:
        self.losses.append((self._start, step, values["train/loss"]))
        self._start = step

    def close(self) -> None:
        self._run.tracker.recorder.close()
        self._run.folder.release()


class _Plain:
    """The loop one writes by hand."""

    def __init__(self, plan: Plan, data: DataSet, order: Callable[[int], Tensor]):
        blocks = build_blocks(plan.config, plan.in_shape, plan.n_outputs)
        self.losses: list[float] = []
        self._model = nn.Sequential(*[
            layer for block in blocks for layer in (block if isinstance(block, nn.Sequential) else [block])])
        self._optimizer = build_optimizer(plan.config.optimizer, self._model.parameters())
        self._x, self._y, self._order = data.train.x, data.train.y, order
        self._rows: list[Tensor] = []

    def draw(self, stop: int) -> None:
        """The rows of the steps before `stop`: drawn outside of the time that is measured."""
        self._rows += [self._order(t) for t in range(len(self._rows), stop)]

    def train(self, start: int, stop: int) -> None:
        model, optimizer, x, y = self._model, self._optimizer, self._x, self._y
        losses = []
        for rows in self._rows[start:stop]:
            loss = F.cross_entropy(model(x.index_select(0, rows)), y.index_select(0, rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        self.losses = torch.stack(losses).tolist()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _config(case: Case, folder: str) -> Config:
    tree: dict[str, Any] = {
        "name": "bench-overhead",
        "data": {"name": "bench_noise", "batch_size": case.batch, "validation": 0.0,
                 "options": {"shape": [case.n_in], "examples": case.examples}},
        "model": {"name": "mlp", "hidden": case.hidden},
        "train": {"epochs": 1_000_000, "log_every": LOG_EVERY},
        "parallel": {"launcher": "inprocess", "device": "cpu"},
        "tracking": {"runs": folder, "uri": "off"},
    }
    return from_tree(tree)
