"""What the platform adds to a training step: the training loop of `unlocked train` against a plain one.

Both train the same network from the same weights, on the same rows in the same order, with the same fused
optimiser; the plain loop is what a careful PyTorch user writes by hand, with a flat `nn.Sequential` and its batch
order drawn beforehand. Under backprop the network is one module. Under cdni it is two, each with its tick per step:
what is added there is what the engine costs beside the algorithm, messages in one process included. The losses of the
two loops must be equal to the last bit.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.bench.measured import noise as _noise  # noqa: F401  (registers the data)
from unlocked.bench.measured.measure import Spread, in_rounds, paired, torch_threads
from unlocked.config import Config, from_tree
from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.errors import RunFailed
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Silent
from unlocked.loop.trainer import Trainer
from unlocked.optim import build_optimizer
from unlocked.plan.blocks import build_blocks
from unlocked.plan.make import make_plan
from unlocked.plan.plan import Plan, load_data
from unlocked.runs.folder import RunFolder
from unlocked.schema.keys import OptimizerConfig
from unlocked.schemes import DNI
from unlocked.tracking import Recorder, Tracker

LOG_EVERY = 50


@dataclass(frozen=True)
class Case:
    n_in: int
    hidden: list[int]
    batch: int
    examples: int
    modules: int = 1  # 1: backprop, more: cdni with a linear synthetic gradient

    @property
    def name(self) -> str:
        scheme = f"-cdni-{self.modules}-modules" if self.modules > 1 else ""
        return "-".join(["mlp", *map(str, [self.n_in, *self.hidden, 10])]) + f"-b{self.batch}{scheme}"


CASES = [
    Case(784, [256, 256], 64, 60_000),
    Case(784, [256, 256], 256, 60_000),
    Case(64, [64, 64], 32, 1_797),
    Case(64, [64, 64], 32, 1_797, modules=2),
]


@dataclass(frozen=True)
class Cost:
    """Of one case, over the rounds."""

    name: str
    steps: int  # per round, of each of the two
    rate: Spread  # steps per second under `unlocked`
    plain_rate: Spread
    ratio: Spread  # rate / plain_rate, paired
    added: Spread  # microseconds over the plain loop per step of a module, paired
    foreign: list[float | None]


def measure(case: Case, rounds: int = 7, threads: int = 1, seconds: float = 1.0) -> Cost:
    """`rounds` rounds of about `seconds` for each of the two, which alternate every `LOG_EVERY` steps.

    Raises `RunFailed` when the two did not compute the same losses.
    """
    with (
        torch_threads(threads),
        tempfile.TemporaryDirectory(prefix="unlocked-bench-") as runs,
        _contenders(case, runs) as pair,
    ):
        return _measure(case, rounds, seconds, *pair)


def _measure(case: Case, rounds: int, seconds: float, ours: _Ours, plain: _Plain) -> Cost:
    def check(step: int, stop: int) -> None:
        if any(loss != _mean(plain.losses[start - step : end - step]) for start, end, loss in ours.losses):
            raise RunFailed(
                f"bench overhead: {case.name}: the two loops disagree on the losses of "
                f"steps {step} to {stop - 1}; the comparison would mean nothing"
            )

    def both(step: int, turns: int) -> tuple[float, float]:
        plain.draw(step + turns * LOG_EVERY)
        return _in_turn((ours, plain), step, turns, check)

    return _cost(case, rounds, seconds, both)


def _cost(
    case: Case, rounds: int, seconds: float, both: Callable[[int, int], tuple[float, float]], step: int = 0
) -> Cost:
    """`both(step, turns)` trains the two from `step` on, and says for how many seconds each."""

    def on(turns: int) -> tuple[float, float]:
        nonlocal step
        begin, step = step, step + turns * LOG_EVERY
        return both(begin, turns)

    warm = sum(on(2)) / 4
    turns = max(1, round(seconds / warm))
    done = in_rounds(rounds, lambda: on(turns), note=lambda text: None)
    times = done.results
    steps = turns * LOG_EVERY
    rates, plain_rates = [steps / a for a, _ in times], [steps / b for _, b in times]
    return Cost(
        case.name,
        steps,
        Spread.of(rates),
        Spread.of(plain_rates),
        paired(rates, plain_rates),
        Spread.of([1e6 * (a - b) / steps / case.modules for a, b in times]),
        done.foreign,
    )


def _in_turn(
    pair: Sequence[_Ours | _Plain], step: int, turns: int, check: Callable[[int, int], None] = lambda step, stop: None
) -> tuple[float, float]:
    """Seconds of each for `turns` stretches of `LOG_EVERY` steps, which they begin in turn; each ends with `check`."""
    spent = [0.0, 0.0]
    for i in range(turns):
        stop = step + LOG_EVERY
        for which in (0, 1) if i % 2 else (1, 0):
            begin = time.perf_counter()
            pair[which].train(step, stop)
            spent[which] += time.perf_counter() - begin
        check(step, stop)
        step = stop
    return spent[0], spent[1]


def measure_compiled(case: Case, rounds: int = 7, threads: int = 1, seconds: float = 1.0) -> Cost:
    """The training loop with `train.compile`, against the same without: `plain` is that.
    Compiling comes before the rounds. Raises `RunFailed` if the two learn differently, beyond rounding."""
    with torch_threads(threads), tempfile.TemporaryDirectory(prefix="unlocked-bench-") as runs:
        configs = [_config(case, runs, compile=True), _config(case, runs)]
        data = load_data(configs[0])
        pair = [_Ours(make_plan(config, data), data) for config in configs]
        try:
            return _measure_compiled(case, rounds, seconds, pair)
        finally:
            for each in pair:
                each.close()


def _measure_compiled(case: Case, rounds: int, seconds: float, pair: list[_Ours]) -> Cost:
    _in_turn(pair, 0, 2)
    if any(abs(a - b) > 1e-3 * abs(b) for (*_, a), (*_, b) in zip(pair[0].losses, pair[1].losses, strict=True)):
        raise RunFailed(f"bench overhead: {case.name}: compiled blocks learn differently")
    return _cost(case, rounds, seconds, partial(_in_turn, pair), 2 * LOG_EVERY)


@contextmanager
def _contenders(case: Case, folder: str) -> Iterator[tuple[_Ours, _Plain]]:
    config = _config(case, folder)
    data = load_data(config)
    plan = make_plan(config, data)
    ours = _Ours(plan, data)
    try:
        plain = _Plain if case.modules == 1 else _PlainCDNI
        yield ours, plain(plan, data, ours)
    finally:
        ours.close()


class _Ours(Silent):
    """The training loop itself, with what it does after every segment; its spool is written, not sent."""

    def __init__(self, plan: Plan, data: DataSet):
        self.losses: list[tuple[int, int, float]] = []  # start, stop and mean loss of the segments of a turn
        self.group = InProcessGroup(plan, data)
        self.order = self.group.modules[0].batches.indices
        folder = RunFolder.create(plan.config)
        tracker = Tracker(Recorder(folder.path), None)
        self._trainer = Trainer(plan, data, folder, tracker, self, StopSignal(), time.time())

    def train(self, start: int, stop: int) -> None:
        self.losses, self._start = [], start
        self._trainer.run_segments(self.group, stop)

    def segment(self, step: int, values: dict[str, float]) -> None:
        self.losses.append((self._start, step, values["train/loss"]))
        self._start = step

    def close(self) -> None:
        self._trainer.tracker.recorder.close()
        self._trainer.folder.release()


class _Plain:
    """The loop one writes by hand."""

    def __init__(self, plan: Plan, data: DataSet, ours: _Ours):
        blocks = build_blocks(plan.config, plan.example)
        self.losses: list[float] = []
        self._modules = [
            nn.Sequential(
                *[
                    layer
                    for block in blocks[spec.start : spec.stop]
                    for layer in (block if isinstance(block, nn.Sequential) else [block])
                ]
            )
            for spec in plan.specs
        ]
        self._optimizers = [build_optimizer(plan.config.optimizer, m.parameters()) for m in self._modules]
        self._x, self._y, self._order = data.train.x, data.train.y, ours.order
        self._rows: list[Tensor] = []

    def draw(self, stop: int) -> None:
        """The rows of the steps before `stop`: drawn outside of the time that is measured."""
        self._rows += [self._order(t) for t in range(len(self._rows), stop)]

    def train(self, start: int, stop: int) -> None:
        (model,), (optimizer,), x, y = self._modules, self._optimizers, self._x, self._y
        losses = []
        for rows in self._rows[start:stop]:
            loss = F.cross_entropy(model(x.index_select(0, rows)), y.index_select(0, rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        self.losses = torch.stack(losses).tolist()


class _PlainCDNI(_Plain):
    """Two modules, by hand: equations of `schemes.dni` at lag 2, the gradient's target two steps late."""

    def __init__(self, plan: Plan, data: DataSet, ours: _Ours):
        super().__init__(plan, data, ours)
        learner = cast(DNI, ours.group.modules[0].learner)
        self._sg = cast(nn.Module, copy.deepcopy(learner.sg))  # the same weights
        sg = plan.config.scheme.sg
        self._sg_optimizer = build_optimizer(
            OptimizerConfig(name=sg.optimizer, lr=cast(float, sg.lr)), self._sg.parameters()
        )
        self._lag, self._n_outputs = plan.lag, plan.example.n_outputs
        self._late: deque[tuple[Tensor, Tensor, Tensor]] = deque()  # h, label and target of the latest steps

    def train(self, start: int, stop: int) -> None:
        (below, above), (below_optimizer, above_optimizer) = self._modules, self._optimizers
        losses = []
        for rows in self._rows[start:stop]:
            y = self._y.index_select(0, rows)
            out = below(self._x.index_select(0, rows))
            h, c = out.detach(), F.one_hot(y, self._n_outputs).float()
            with torch.no_grad():
                out_gradient = self._sg(h, c) / len(h)
            out.backward(out_gradient)
            below_optimizer.step()
            below_optimizer.zero_grad()
            h_in = h.clone().requires_grad_()
            loss = F.cross_entropy(above(h_in), y)
            loss.backward()
            above_optimizer.step()
            above_optimizer.zero_grad()
            losses.append(loss.detach())
            self._late.append((h, c, cast(Tensor, h_in.grad)))
            if len(self._late) > self._lag:
                self._learn(*self._late.popleft())
        self.losses = torch.stack(losses).tolist()

    def _learn(self, h: Tensor, c: Tensor, target: Tensor) -> None:
        prediction = self._sg(h, c)
        error = (target * len(h)).sub_(prediction.detach())
        prediction.backward(error * (-2 / len(h)))
        self._sg_optimizer.step()
        self._sg_optimizer.zero_grad()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _config(case: Case, folder: str, compile: bool = False) -> Config:
    scheme = {"name": "cdni", "sg": {"kind": "linear", "lr": 1e-3}} if case.modules > 1 else {"name": "backprop"}
    tree: dict[str, Any] = {
        "name": "bench-overhead",
        "data": {
            "name": "bench_noise",
            "batch_size": case.batch,
            "validation": 0.0,
            "options": {"shape": [case.n_in], "rows": case.examples},
        },
        "model": {"name": "mlp", "hidden": case.hidden},
        "train": {"epochs": 1_000_000, "log_every": LOG_EVERY, "compile": compile},
        "scheme": scheme,
        "parallel": {"engine": "inprocess", "device": "cpu", "modules": case.modules},
        "tracking": {"runs": folder, "uri": "off"},
    }
    return from_tree(tree)
