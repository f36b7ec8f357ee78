"""Training as one writes it by hand: one undivided network, `loss.backward()`, an optimiser and a schedule of torch.

What `unlocked bench reference` holds the platform's backprop against. Of the platform it takes what both must begin
with: the network as it was drawn, the rows of every minibatch and of every evaluation, and the seeds of noise. The
objective, optimiser, schedule, clipping, the choice of the best epoch and the evaluation are its own.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from unlocked.data import DataSet, TrainBatches
from unlocked.data.words.text import PAD
from unlocked.engine.group import evaluation_rows
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan
from unlocked.schema.keys import OptimizerConfig
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import (
    BernoulliReconstruction,
    Classification,
    LanguageModelling,
    MaskedLanguageModelling,
    Reconstruction,
    Regression,
    Translation,
    task_name,
)
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import carrying, takes_batch

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}

Means = dict[str, tuple[Tensor, int]]  # a sum, and of how many it is


@dataclass(frozen=True)
class Objective:
    """What a task measures of a minibatch, given the output; the sum of the means that are `minimised` is the loss."""

    measure: Callable[[Tensor, Batch], Means]
    minimised: tuple[str, ...] = ("loss",)
    monitor: str = "loss"  # chooses the best epoch; only an accuracy is better where it is higher


def _classes(output: Tensor, batch: Batch) -> Means:
    n = len(batch.y)
    return {
        "loss": (F.cross_entropy(output, batch.y, reduction="sum"), n),
        "accuracy": ((output.argmax(1) == batch.y).sum(), n),
    }


def _values(output: Tensor, batch: Batch) -> Means:
    return {"loss": ((output - batch.y).square().sum(), batch.y.numel())}


def _tokens(output: Tensor, batch: Batch) -> Means:
    asked = batch.y != PAD
    logits, ids = output[asked], batch.y[asked]
    return {
        "loss": (F.cross_entropy(logits, ids, reduction="sum"), len(ids)),
        "accuracy": ((logits.argmax(1) == ids).sum(), len(ids)),
    }


def _hidden_words(output: Tensor, batch: Batch) -> Means:
    words = _tokens(output[:, 1:], Batch(None, batch.y[:, 1:]))
    return {
        "words": words["loss"],
        "accuracy": words["accuracy"],
        "pairs": _tokens(output[:, :1], Batch(None, batch.y[:, :1]))["loss"],
    }


def _pixels(output: Tensor, batch: Batch) -> Means:
    assert batch.x is not None
    error = (output - batch.x).square().sum()
    return {"loss": (error, len(output)), "mse": (error, output.numel())}


def _probabilities(output: Tensor, batch: Batch) -> Means:
    assert batch.x is not None
    nats = F.binary_cross_entropy_with_logits(output, batch.x, reduction="sum")
    return {"loss": (nats, len(output)), "mse": _pixels(output.sigmoid(), batch)["mse"]}


OBJECTIVES = {
    task_name(kind): objective
    for kind, objective in (
        (Classification, Objective(_classes, monitor="accuracy")),
        (Regression, Objective(_values, monitor="rmse")),
        (LanguageModelling, Objective(_tokens)),
        (Translation, Objective(_tokens)),
        (MaskedLanguageModelling, Objective(_hidden_words, minimised=("words", "pairs"))),
        (Reconstruction, Objective(_pixels, monitor="mse")),
        (BernoulliReconstruction, Objective(_probabilities, monitor="mse")),
    )
}


def build_optimizer(given: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Raises `ConfigError` for one that torch does not have."""
    if given.name not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer.name: the plain loop has no {given.name}; expected one of {', '.join(OPTIMIZERS)}"
        )
    options = {
        key: value
        for key in ("weight_decay", "momentum", "nesterov", "betas", "eps")
        if (value := getattr(given, key)) is not None
    }
    fused = {} if given.name == "rmsprop" else {"fused": True}  # the same rounding as the platform's
    return OPTIMIZERS[given.name](parameters, lr=given.lr, **options, **fused)


def build_schedule(given: OptimizerConfig, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """Stepped once per minibatch: a linear warm-up, then constant, or falling to zero after the last of `steps`."""
    left = max(1, steps - given.warmup)
    after: lr_scheduler.LRScheduler
    if given.schedule == "linear":
        after = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, left)
    elif given.schedule == "cosine":
        after = lr_scheduler.CosineAnnealingLR(optimizer, left)
    else:
        after = lr_scheduler.ConstantLR(optimizer, 1.0)
    if not given.warmup:
        return after
    up = lr_scheduler.LinearLR(optimizer, 1 / (given.warmup + 1), 1.0, given.warmup)
    return lr_scheduler.SequentialLR(optimizer, [up, after], [given.warmup])


def outputs(
    blocks: Iterable[nn.Module], batch: Batch, before: Callable[[int], None] = lambda i: None
) -> Iterator[tuple[nn.Module, Tensor]]:
    """Each block with its output, as it is computed; told of `before` block i runs."""
    h = batch.x
    for i, block in enumerate(blocks):
        before(i)
        h = block(h, batch) if takes_batch(block) else block(h)
        yield block, h


def losses(
    blocks: Iterable[nn.Module], batch: Batch, objective: Objective, before: Callable[[int], None] = lambda i: None
) -> tuple[Tensor, Tensor]:
    """The task's loss, and the sum of what blocks add to it (a KL divergence, a penalty); scalars, with graph."""
    local, h = torch.zeros(()), torch.empty(0)
    for block, h in outputs(blocks, batch, before):
        if hasattr(block, "local_loss"):
            local = local + block.local_loss(h, batch)  # type: ignore[operator]
    means = objective.measure(h, batch)
    return torch.stack([means[name][0] / max(means[name][1], 1) for name in objective.minimised]).sum(), local


class PlainRun:
    """The network of a plan and its training, from the first step to the test split.

    Noise, such as that of dropout, is drawn as the platform draws it: anew from a seed of the step at which one of its
    modules begins. The loop knows no modules otherwise; where nothing draws, no seed matters.
    """

    def __init__(self, plan: Plan, data: DataSet, weights: dict[str, Tensor] | None = None):
        config = plan.config
        self.plan, self.data = plan, data
        self.objective = OBJECTIVES[plan.task]
        self.network = nn.Sequential(*build_blocks(config, plan.example))
        if weights is not None:
            self.network.load_state_dict(weights)
        self.streams = carrying(self.network)
        self.noise = {spec.start: derive_seed(config.seed, "module", spec.start) for spec in plan.specs}
        self.batches = TrainBatches(
            data.train,
            config.data.batch_size,
            derive_seed(config.seed, "order"),
            data.transforms,
            carried=plan.carries,
            stretch=data.stretch,
        )

    def complete(self) -> dict[str, float]:
        """Trains, and measures the test split: with the weights that were best on the validation split, if there is
        one, else the last."""
        given, steps = self.plan.config.optimizer, self.plan.total_steps
        every = self.plan.config.train.evaluate_every * self.plan.steps_per_epoch
        optimizer = build_optimizer(given, self.network.parameters())
        schedule = build_schedule(given, optimizer, steps)
        best: tuple[float, float] | None = None
        best_weights = self.network.state_dict()
        self.network.train()
        for step in range(steps):
            optimizer.zero_grad()
            self._loss(step).backward()
            if given.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), given.clip_norm)
            if given.clip_global is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), given.clip_global)
            optimizer.step()
            schedule.step()
            done = step + 1
            if self.data.validation is not None and (done % every == 0 or done == steps):
                rank = self._rank(self.evaluate("validation"))
                if best is None or rank > best:
                    best, best_weights = rank, copy.deepcopy(self.network.state_dict())
        self.network.load_state_dict(best_weights)
        return self.evaluate("test")

    def _loss(self, step: int) -> Tensor:
        self._begin(self.batches.fresh(step))
        batch = Batch(self.batches.x(step), self.batches.y(step), extras=self.batches.extras(step))
        loss, local = losses(self.network, batch, self.objective, lambda i: self._seed(i, step))
        return loss + local

    def _seed(self, block: int, step: int) -> None:
        if block in self.noise:
            torch.manual_seed(step_seed(self.noise[block], step))

    def _begin(self, fresh: bool) -> None:
        """Recurrent states that go on from minibatch to minibatch: from zero, or from the last without its graph."""
        for layer in self.streams:
            state: Tensor | None = layer.carried  # type: ignore[assignment]
            layer.carried = None if fresh or state is None else state.detach()  # type: ignore[assignment]

    @torch.no_grad()
    def evaluate(self, split: str) -> dict[str, float]:
        """Means over all of `validation` or `test`."""
        rows_of = getattr(self.data, split)
        totals: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        self.network.eval()
        for rows, fresh in evaluation_rows(self.plan, self.data, split):
            batch = rows_of.batch(rows)
            self._begin(fresh)
            *_, (_, h) = outputs(self.network, batch)
            for name, (total, n) in self.objective.measure(h, batch).items():
                totals[name] += float(total)
                counts[name] += n
        self.network.train()
        means = {name: totals[name] / max(counts[name], 1) for name in totals}
        means["loss"] = sum(means[name] for name in self.objective.minimised)
        return {**means, "rmse": math.sqrt(means["loss"])} if self.objective.monitor == "rmse" else means

    def _rank(self, means: dict[str, float]) -> tuple[float, float]:
        """Higher is better; the loss tells equal ones apart."""
        value = means[self.objective.monitor]
        return value if self.objective.monitor == "accuracy" else -value, -means["loss"]
