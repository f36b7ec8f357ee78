"""How a module's weights follow their gradients: its optimiser, and what goes before and after a step of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlocked.errors import RunFailed
from unlocked.optim import Gradients, build_optimizer, changes
from unlocked.schema.keys import Config
from unlocked.schemes.averaging import WeightAverage
from unlocked.schemes.loss_scale import LossScale, finite
from unlocked.schemes.objective import Objective
from unlocked.schemes.spec import ModuleSpec
from unlocked.schemes.state import Holder
from unlocked.schemes.through_time import TimeGradients
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain


def place_in(start: int, name: str) -> str:
    """A name within a module that begins with block `start`, as one of the whole net.

    >>> place_in(3, "0.layer.weight")
    '3.layer.weight'
    """
    block, _, rest = name.partition(".")
    return f"{int(block) + start}.{rest}"


class Updating(Holder):
    """A part of every learner."""

    spec: ModuleSpec
    chain: Chain
    config: Config
    objective: Objective
    trainable: list[nn.Parameter]
    time: TimeGradients | None
    loss_scale: LossScale | None = None  # of float16
    waits: bool
    optimizer: torch.optim.Optimizer | None = None
    average: WeightAverage | None = None
    reduce: Callable[[list[nn.Parameter]], None] | None = None  # averages gradients over replicas
    steps_instead: Callable[[torch.optim.Optimizer], bool] | None = None  # in place of all that `apply` does
    averaging_seconds = 0.0  # so far, on `reduce`: in sending, and in waiting for the other replicas
    at = 0  # the minibatch, or pass, that the engine is at
    steps_within = False  # the engine takes the norm over all modules, and calls `step_within`
    _due = False  # gradients that wait for it
    _gradients: Gradients | None = None
    _passes = 0  # whose gradients wait for those of the others that make a step with them
    _probing = False

    if TYPE_CHECKING:  # of the learner

        def record(self, name: str, value: Tensor) -> None: ...
        def carried(self) -> list[Tensor | None]: ...
        def carry(self, states: Sequence[Tensor | None]) -> None: ...
        def seed_step(self, t: int) -> None: ...
        def run_chain(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]: ...

    def _hold_optimizer(self, config: Config) -> None:
        """Of the module's own weights, and what goes with its steps."""
        names = [place_in(self.spec.start, name) for name, p in self.chain.named_parameters() if p.requires_grad]
        self.optimizer = self.holds("optimizer", build_optimizer(config.optimizer, self.trainable, names))
        if config.train.precision == "fp16":
            scale = self.loss_scale = LossScale(self.trainable)
            self.holds("loss_scale", scale, scale.state, scale.load_state)
        if changes(config.optimizer):
            self._gradients = Gradients(config.optimizer, config.seed, names)
        if config.train.average is not None:
            average = self.average = WeightAverage(self.trainable, config.train.average)
            self.holds("average", average, average.state, average.load_state)
        if config.train.accumulate > 1:
            self.holds("accumulated", self.trainable, self._accumulated, self._accumulate_on)

    def update(self) -> None:
        """One optimiser step on the gradients of this module."""
        if self.waits:
            return
        if self.time is not None:
            error = self.time.learn(self.apply)
            if error is not None:
                self.record("sg/time_loss", error)
        if self.optimizer is not None and self._is_due():
            if self.config.optimizer.clip_global is not None and self.spec.modules > 1:
                if not self.steps_within:
                    raise RunFailed(
                        f"optimizer.clip_global: parallel.engine={self.config.parallel.engine} takes no norm over all "
                        f"modules"
                    )
                self._due = True
                return
            stepped = self.apply(self.optimizer, self._gradients)
            if self.loss_scale is not None:
                self.record("scale/factor", torch.tensor(self.loss_scale.factor))
                self.record("scale/skipped", torch.tensor(float(not stepped)))
                self.loss_scale.stepped(overflow=not stepped)
            if self.average is not None and stepped:
                self.average.update()

    def evaluated(self) -> AbstractContextManager[None]:
        """The module has the weights that are evaluated and saved."""
        return self.average.in_place() if self.average is not None else nullcontext()

    def own_norm(self) -> Tensor | None:
        """Of the gradients that wait, averaged over the replicas; None if none do."""
        if not self._due:
            return None
        assert self._gradients is not None
        self._reduce(self.trainable)
        return self._gradients.own_norm(self.trainable)

    def step_within(self, norm: Tensor) -> None:
        """By the gradients that wait, given their norm over all modules."""
        if not self._due:
            return
        assert self.optimizer is not None
        assert self._gradients is not None
        self._due = False
        self._gradients.within(self.at, self.trainable, norm)
        self._step(self.optimizer, self.trainable, self._gradients)
        if self.average is not None:
            self.average.update()

    def _is_due(self) -> bool:
        """Whether the gradients of all minibatches of a step are there, and are now their mean."""
        n = self.config.train.accumulate
        if n == 1:
            return True
        self._passes = (self._passes + 1) % n
        if self._passes:
            return False
        for p in self.trainable:
            if p.grad is not None:
                p.grad /= n
        return True

    def _accumulated(self) -> dict[str, Any]:
        grads = [None if p.grad is None else p.grad.clone() for p in self.trainable]
        return {"passes": self._passes, "gradients": grads}

    def _accumulate_on(self, state: Mapping[str, Any]) -> None:
        self._passes = state["passes"]
        for p, gradient in zip(self.trainable, state["gradients"], strict=True):
            p.grad = None if gradient is None else gradient.to(p)

    def apply(self, optimizer: torch.optim.Optimizer, gradients: Gradients | None = None) -> bool:
        """Averages the gradients over the replicas, changes them if asked, and steps; false if float16 made numbers of
        them that are not finite, so that the step is left out."""
        if self.steps_instead is not None:
            return self.steps_instead(optimizer)
        parameters = self.trainable if gradients is not None else _parameters_of(optimizer)
        self._reduce(parameters)
        if self.loss_scale is not None and not finite(p.grad for p in parameters):
            optimizer.zero_grad()
            return False
        if gradients is not None:
            gradients.before(self.at, parameters)
        self._step(optimizer, parameters, gradients)
        return True

    def _reduce(self, parameters: list[nn.Parameter]) -> None:
        if self.reduce is not None:
            begin = time.perf_counter()
            self.reduce(parameters)
            self.averaging_seconds += time.perf_counter() - begin

    def _step(
        self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], gradients: Gradients | None
    ) -> None:
        optimizer.step()
        if gradients is not None:
            gradients.after(parameters)
        optimizer.zero_grad()

    def _search(self, h_in: Tensor, batch: Batch) -> None:
        """A step of an optimiser that evaluates the loss again, on the same minibatch with the same draws."""
        assert self.optimizer is not None
        t, carried, seen = self.at, self.carried(), list[Tensor]()

        def evaluate() -> Tensor:
            self.seed_step(t)
            self.carry(carried)
            self.optimizer.zero_grad()  # type: ignore[union-attr]
            h, local = self.run_chain(h_in, batch)
            loss = self.objective.loss(h, batch)
            total = loss if local is None else loss + local
            total.backward()
            seen.append(loss)
            return total

        self._probing = True  # nothing is recorded on the way
        try:
            self.optimizer.step(evaluate)  # type: ignore[arg-type]
        finally:
            self._probing = False
        self.optimizer.zero_grad()
        self.record("loss", seen[0])


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    first, *others = optimizer.param_groups
    own: list[nn.Parameter] = first["params"]
    return own if not others else [p for group in (first, *others) for p in group["params"]]
