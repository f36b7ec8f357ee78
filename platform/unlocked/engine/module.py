"""One worker's part of the engine: a learner, its data and its links, driven tick by tick.

At its tick t a module runs minibatch t (`forward_phase`), then consumes what came back about minibatch
t - lag (`feedback_phase`), always that one: it waits if it is late and does not peek if it is early. Every
module therefore sees the same inputs in the same order wherever the others run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.compiling import said_by_compiler
from unlocked.data import DataSet, TrainBatches
from unlocked.engine.links import Incoming, Late, Outgoing
from unlocked.engine.segments import SegmentStats
from unlocked.engine.spans import Spans
from unlocked.engine.statistics import averaging, tracking, untouched
from unlocked.errors import RunFailed, reason
from unlocked.optim import lr_factor
from unlocked.plan.blocks import build_learner
from unlocked.plan.plan import Plan, load_data
from unlocked.plan.rehearsal import CHANGED_KEPT, CHANGED_LEAF
from unlocked.schemes import Alignment, ModuleLearner
from unlocked.schemes.adversary import Adversary
from unlocked.schemes.updating import place_in
from unlocked.seeding import derive_seed
from unlocked_models.contract.batch import Batch, moved, rows_of


@dataclass
class Ends:
    """The ends of a module's links; None if there is no neighbour or nothing is sent."""

    h_in: Incoming | None = None
    h_out: Outgoing | None = None
    feedback_in: Incoming | None = None
    feedback_out: list[Outgoing] = field(default_factory=list)


class ModuleRunner:
    """Module `learner.spec.index` of the chain, for one replica."""

    passes: Callable[[], AbstractContextManager[Any]] = torch.inference_mode  # of evaluations

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        module: int,
        device: torch.device,
        shard: tuple[int, int] = (0, 1),
        blocks: Sequence[nn.Module] | None = None,
    ):
        """`shard`: this replica, and of how many; `blocks`: of the whole net, if they are built already."""
        self.plan = plan
        self.learner = self._make_learner(plan, module, device, blocks)
        self.learner.draw_as_replica(shard[0])
        self.device, self.dtype = device, self.learner.dtype
        self.ends = Ends()
        self.spans = Spans.of(plan)
        self.lag = plan.lag
        config = plan.config
        self._shard = shard
        self._read(data)
        spec = self.learner.spec
        self._is_first = spec.is_first
        if config.train.adversary.attack != "none":
            self.learner.adversary = Adversary(config.train.adversary, config.seed, data.train.x, shard)
        takes_target = self.learner.needs_labels or spec.is_last
        looks = self.learner.sees_batch or self.learner.chain.takes_batch() or self.learner.chain.has_local_loss()
        self._takes_y = takes_target or looks or self.learner.task.counts_terms
        # what it runs on, too, where another module's output is not
        self._takes_x = looks or (takes_target and self.learner.task.learns_input)
        self._evaluated: list[Tensor | None] = []  # carried from one call of `evaluate` to the next
        self._estimated: list[Tensor | None] = []  # and of `estimate`
        self._lr_factor = lr_factor(config.optimizer, plan.total_steps)
        self._lr_scale = 1.0  # by what was measured
        self._base_lrs = [[g["lr"] for g in o.param_groups] for o in self.learner.optimizers()]
        self._late_inputs: Late | None = None  # where the module runs on synthetic ones
        self._feedback: Late | None = None
        self._t = self._feedback_t = 0
        self.average_buffers: Callable[[Iterable[Tensor]], None] | None = None  # over replicas

    def _make_learner(
        self, plan: Plan, module: int, device: torch.device, blocks: Sequence[nn.Module] | None
    ) -> ModuleLearner:
        return build_learner(plan, module, device, blocks)

    def _read(self, data: DataSet, begin: int = 0) -> None:
        """Minibatches of `data` from step `begin` on."""
        config = self.plan.config
        split = self._placed(data.train)

        def batches(shard: tuple[int, int]) -> TrainBatches:
            return TrainBatches(
                split,
                config.data.batch_size,
                derive_seed(config.seed, "order"),
                data.transforms,
                shard,
                data.name,
                self.plan.carries,
                data.stretch,
                begin,
                self.plan.total_steps,
                config.data.easy_first,
                config.data.easy_by == "loss",
            )

        self.batches = batches(self._shard)
        in_parts = self._shard[1] > 1 or config.parallel.schedule != "locked"
        # a loss that counts its targets is weighed by those of the whole minibatch, which any worker can draw
        task = self.learner.task
        averages = self.learner.spec.is_last or self.learner.averages_targets
        counts = (averages and task.masks) or task.counts_terms
        self._whole = batches((0, 1)) if in_parts and counts else None
        self._splits = {"validation": data.validation, "test": data.test}
        self._data = data

    def set_level(self, level: int, begin: int) -> None:
        """The data's next level, of the same shapes, from step `begin` on."""
        self._read(load_data(self.plan.config, level), begin)

    def order(self, difficulty: Sequence[int]) -> None:
        """How hard each training example is, from the next epoch on."""
        for batches in (self.batches, self._whole):
            if batches is not None:
                batches.order(torch.tensor(difficulty))

    def scale_rates(self, factor: float) -> None:
        self._lr_scale = factor
        self._lr_factor = self._lr_factor or (lambda t: 1.0)

    @property
    def tick(self) -> int:
        """The minibatch it is at."""
        return self._t

    def connect(self, ends: Ends) -> None:
        self.ends = ends = ends if self.spans is None else self.spans.watch(self, ends)
        self._feedback = Late(ends.feedback_in, self.lag) if ends.feedback_in is not None else None
        if self.learner.learns_inputs and ends.h_in is not None:
            self._late_inputs = Late(ends.h_in, self.lag)

    # ports of the learner ----------------------------------------------------------------------------

    def up(self, h: Tensor) -> None:
        assert self.ends.h_out is not None
        self.ends.h_out.send(self._t, h)

    def down(self, message: Tensor) -> None:
        for link in self.ends.feedback_out:
            link.send(self._feedback_t, message)

    # training ----------------------------------------------------------------------------------------

    def begin(self, start: int, stop: int, checkpoint_at: int) -> None:
        """Announces steps start..stop-1, and the step after which the next checkpoint may be taken."""
        self.learner.prepare_checkpoint(checkpoint_at)
        if self.ends.h_in is not None and self._late_inputs is None:
            self.ends.h_in.expect(start, stop)
        for late in self._late():
            late.expect(start, stop)
        self._marks = (self._waited(), self._sent(), self.learner.sg_seconds, time.perf_counter())

    def forward_phase(self, t: int) -> None:
        self._t = self._feedback_t = self.learner.at = t
        if self._lr_factor is not None:
            self._set_lr(t)
        if self._is_first or self._late_inputs is not None:
            h_in = x = self._x(t)
        else:
            assert self.ends.h_in is not None
            h_in, x = self.ends.h_in.receive(t), None
        version = h_in._version
        try:
            self.learner.step(t, h_in, self._batch(t, x), self)
        except RuntimeError as error:
            self._end_in_one_line(error, t)
            raise
        if h_in._version != version:  # the module below may hold it for its own backward pass
            raise RunFailed(self._changed(t))

    def minibatch(self, t: int) -> Batch:
        """Minibatch t as the net's first module sees it."""
        return self._batch(t, self._x(t))

    def _batch(self, t: int, x: Tensor | None) -> Batch:
        """Minibatch t beside h; `x` where it is at hand."""
        if x is None and self._takes_x:
            x = self._x(t)
        y = self._real(self.batches.y(t)) if self._takes_y else _NO_LABELS
        whole = self._whole.y(t) if self._whole is not None else None
        extras = moved(self.batches.extras(t), dtype=self.dtype) if x is not None or self._takes_y else {}
        batches = self.batches
        return Batch(x, y, batches.fresh(t), batches.fresh(t + 1), whole, batches.progress(t), extras)

    def feedback_phase(self, t: int) -> None:
        late = t - self.lag
        if late < 0:
            return
        if self._late_inputs is not None:
            self.learner.absorb_input(late, self._late_inputs.take(late), self._x(late))
        if self._feedback is not None:
            self._feedback_t = late
            message = self._feedback.take(late)
            try:
                self.learner.absorb(late, message, self)
            except RuntimeError as error:
                self._end_in_one_line(error, late)
                raise

    def _changed(self, t: int) -> str:
        return (
            f"module {self.learner.spec.index} changed its input in place at minibatch {t}; its first block has to "
            f"make a new tensor, such as h = 0.5 * h in place of h.mul_(0.5)"
        )

    def _end_in_one_line(self, error: RuntimeError, t: int) -> None:
        """Raises `RunFailed` for what a compiler says, and autograd of changes in place, which a block made."""
        if self.plan.config.train.compile and (said := said_by_compiler(error)) is not None:
            raise RunFailed(said) from error
        if CHANGED_LEAF in str(error):
            raise RunFailed(self._changed(t)) from error
        if CHANGED_KEPT in str(error):
            said = reason(error).partition(": [")[0]
            raise RunFailed(
                f"module {self.learner.spec.index}: {said} (minibatch {t}); its block has to make a new "
                f"tensor, such as h = 0.5 * h in place of h.mul_(0.5)"
            ) from error

    def _x(self, t: int) -> Tensor:
        return self._real(self.batches.x(t))

    def _real(self, values: Tensor) -> Tensor:
        """Real numbers in the dtype of the weights; ids as they are."""
        return values.to(self.dtype) if values.is_floating_point() and values.dtype is not self.dtype else values

    def _late(self) -> list[Late]:
        return [late for late in (self._late_inputs, self._feedback) if late is not None]

    def run(self, start: int, stop: int, checkpoint_at: int) -> SegmentStats:
        """All ticks of a segment, one after the other: a worker's whole training loop."""
        self.begin(start, stop, checkpoint_at)
        for t in range(start, stop):
            self.forward_phase(t)
            self.feedback_phase(t)
        return self.end(start, stop)

    def end(self, start: int, stop: int) -> SegmentStats:
        self.average_statistics()
        series = {name: torch.stack(values).tolist() for name, values in self.learner.series.items()}
        self.learner.series.clear()
        waited, sent, sg, began = self._marks
        return SegmentStats(
            start,
            stop,
            time.perf_counter() - began,
            self._waited() - waited,
            self._sent() - sent,
            self.learner.sg_seconds - sg,
            series,
            spans=self.spans.take() if self.spans is not None else [],
        )

    def _set_lr(self, t: int) -> None:
        assert self._lr_factor is not None
        factor = self._lr_factor(t) * self._lr_scale
        for optimizer, base in zip(self.learner.optimizers(), self._base_lrs, strict=True):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * factor

    def _links(self) -> list[Incoming | Outgoing]:
        ends = (self.ends.h_in, self.ends.h_out, self.ends.feedback_in, *self.ends.feedback_out)
        return [link for link in ends if link is not None]

    def _waited(self) -> float:
        return sum(link.waited for link in self._links())

    def _sent(self) -> float:
        return sum(link.sent for link in self._links()) + self.learner.averaging_seconds

    # evaluation and probe ----------------------------------------------------------------------------

    def evaluate(self, split: str, rows: Tensor, fresh: bool, h: Tensor | None = None) -> Tensor:
        """Outputs of this module in evaluation mode, for rows of a split; `h` from the module below. Of the last module
        what its task keeps of them. Streams begin with a `fresh` call, and go on with the next."""
        learner, batch = self.learner, self._batch_of(split, rows, fresh)
        h_in = batch.x if h is None else h.to(self.device)
        assert h_in is not None
        training = learner.carried()
        learner.carry([None] * len(training) if fresh else self._evaluated)
        learner.chain.eval()
        with learner.evaluated(), self.passes():
            out = learner.chain(h_in, batch)
            if learner.spec.is_last:
                out = learner.task.observe(learner.chain, h_in, out, batch)
        learner.chain.train()
        self._evaluated = learner.carried()
        learner.carry(training)
        found: Tensor = out
        return found

    def has_statistics(self) -> bool:
        """Whether it trains on synthetic inputs and has running statistics, which then need `estimate`."""
        return self.learner.learns_inputs and bool(tracking(self.learner.chain))

    def estimate(self, steps: range, nth: int, hs: list[Tensor] | None = None, on: bool = True) -> list[Tensor]:
        """Outputs of this module for the minibatches of `steps`, of which `nth` passed before; `hs` from the module
        below, `on` to the one above (else there are none). What trains on synthetic inputs takes its running statistics
        from them: see `engine/statistics.py`."""
        learner, outs = self.learner, list[Tensor]()
        layers = tracking(learner.chain) if learner.learns_inputs else []
        training = learner.carried()
        with torch.no_grad(), untouched(learner.chain, layers):
            for i, t in enumerate(steps):
                h = self._x(t) if hs is None else hs[i].to(self.device)
                batch = self._batch(t, h if self._is_first else None)
                fresh = batch.fresh or nth + i == 0
                learner.carry([None] * len(training) if fresh else self._estimated)
                learner.seed_step(t)
                with averaging(layers, nth + i):
                    out = learner.chain(h, batch)
                outs += [out] if on else []
                self._estimated = learner.carried()
        learner.carry(training)
        return outs

    def average_over(
        self, gradients: Callable[[list[nn.Parameter]], None], buffers: Callable[[Iterable[Tensor]], None]
    ) -> None:
        """The replicas, by what takes their means."""
        self.learner.reduce, self.average_buffers = gradients, buffers

    def average_statistics(self) -> None:
        """Over the replicas, as after a segment."""
        if self.average_buffers is not None:
            self.average_buffers(self.learner.chain.buffers())

    def probe_forward(self, h: Tensor | None = None) -> Tensor:
        """The probe batch, the first of the training split, in training mode."""
        batch = self._batch_of("train", torch.arange(min(self.plan.config.data.batch_size, self.plan.n_train)), True)
        h_in = batch.x if h is None else h.to(self.device)
        assert h_in is not None
        return self.learner.probe_forward(h_in, batch)

    def _batch_of(self, split: str, rows: Tensor, fresh: bool) -> Batch:
        source = self._data.train_shown if split == "train" else self._splits[split]
        assert source is not None
        x = self._real(source.x[rows].to(self.device)) if self._is_first or self._takes_x else None
        extras = moved(rows_of(source.extras, rows), self.device, self.dtype)
        return Batch(x, self._real(source.y[rows].to(self.device)), fresh, extras=extras)

    def probe_loss(self) -> tuple[Tensor, Tensor]:
        return self.learner.probe_loss()

    def probe_backward(self, delta: Tensor, e: Tensor) -> tuple[Tensor | None, Alignment | None]:
        try:
            return self.learner.probe_backward(delta.to(self.device), e.to(self.device))
        except RuntimeError as error:
            self._end_in_one_line(error, self._t)
            raise

    # state -------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """The module's part of the whole chain's state dict, on the CPU; with the weights that are evaluated."""
        learner = self.learner
        with learner.evaluated():
            found = learner.chain.state_dict()
            return {place_in(learner.spec.start, key): value.detach().cpu().clone() for key, value in found.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        start = self.learner.spec.start
        mine = {
            key: weights[f"{int(key.partition('.')[0]) + start}.{key.partition('.')[2]}"]
            for key in self.learner.chain.state_dict()
        }
        self.learner.chain.load_state_dict(mine)
        if self.learner.average is not None:
            self.learner.average.restart()

    def state(self, t: int) -> dict[str, Any]:
        """All there is after t steps; takes in the messages that are still under way."""
        return {
            "learner": self.learner.state(),
            "weights": self.weights(),
            "late": [late.drain(t) for late in self._late()],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.load_weights(state["weights"])
        self.learner.load_state(state["learner"])
        self.learner.series.clear()  # of passes that were repeated
        for late, messages in zip(self._late(), state["late"], strict=True):
            late.pending = deque(message.to(self.device) for message in messages)
        for optimizer, base in zip(self.learner.optimizers(), self._base_lrs, strict=True):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr

    def nonfinite(self) -> str | None:
        """The first parameter of this module that is not finite, by name."""
        for module in self.learner.inner_modules():
            for name, value in module.named_parameters():
                if not bool(value.isfinite().all()):
                    return name
        return None

    def _placed(self, split: Any) -> Any:
        return split if self.device.type == "cpu" else split.to(self.device)


_NO_LABELS = torch.empty(0, dtype=torch.long)
