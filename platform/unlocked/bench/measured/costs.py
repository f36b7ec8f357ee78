"""What the blocks of a configuration cost, measured in this process with one thread, each as a module of its own.

Every round passes one minibatch through the whole chain and back, as training does, with a stamp between the parts of
every block, and then a microbatch; medians over the rounds. The clock is this thread's own time on its core: it stands
still while another program has the core. What a scheme puts beside a block (synthetic gradients, input models, random
projections) is timed in the scheme's own learner, at the block's own activations and gradients.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from unlocked.bench.measured import noise as _noise  # noqa: F401  (registers the data)
from unlocked.bench.measured import transformer as _transformer  # noqa: F401  (registers the model)
from unlocked.bench.measured.measure import torch_threads
from unlocked.bench.simulated.cost_model import Array, Costs
from unlocked.config import Config, with_values
from unlocked.data import DataSet
from unlocked.engine.module import ModuleRunner
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes import DTYPES, SCHEMES, ModuleLearner
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

WARM_UP = 2  # rounds that allocate and choose kernels
LEAST, MOST = 5, 100  # rounds that count

T = TypeVar("T")


def whole_chain(config: Config) -> tuple[ModuleRunner, DataSet]:
    """The configuration's network as one module under backprop, on one core."""
    config = with_values(
        config,
        {
            "scheme.name": "backprop",
            "scheme.lag": "auto",
            "scheme.synthetic_inputs": False,
            "parallel.schedule": "locked",
            "parallel.modules_per_worker": None,
            "parallel.modules": 1,
            "parallel.partition": None,
            "parallel.replicas": 1,
            "parallel.engine": "inprocess",
            "parallel.device": "cpu",
            "parallel.threads": 1,
        },
        "bench scaling --simulate",
    )
    data = load_data(config)
    return ModuleRunner(make_plan(config, data), data, 0, torch.device("cpu")), data


def measure(module: ModuleRunner, data: DataSet, microbatch: int, seconds: float = 8.0) -> Costs:
    """Costs of each block of the one-module `stage`.

    Args:
        microbatch: examples of the second size at which forward and backward are timed. Between it and the whole
            minibatch a call is taken to cost a constant and so much for every example.
        seconds: of rounds, at least 5 and at most 100.
    """
    with torch_threads(1):
        return _Blocks(module, data).measure(microbatch, seconds)


class _Blocks:
    """The chain, a learner per block and scheme, and the stamps of all rounds: `(part, block)` to seconds."""

    def __init__(self, module: ModuleRunner, data: DataSet):
        self.module, self.rows = module, module.plan.config.data.batch_size
        blocks = list(module.learner.chain)
        self.n = len(blocks)
        config = with_values(module.plan.config, {"parallel.modules": self.n}, "bench scaling --simulate")
        self.plan = make_plan(config, data)
        self.chains = [Chain([block]).train() for block in blocks]
        self.own = cast(list[ModuleLearner], self._learners("backprop", {}))  # fits always
        self.dfa = self._learners("dfa", {})
        self.dni = self._learners("dni", {"scheme.synthetic_inputs": True})
        self.cdni = self._learners("cdni", {"scheme.synthetic_inputs": True})
        self.seconds: dict[tuple[str, int], list[float]] = defaultdict(list)

    def _learners(self, scheme: str, values: dict[str, Any]) -> list[ModuleLearner | None]:
        """One per block; None if the scheme does not fit."""
        try:
            config = with_values(self.plan.config, {"scheme.name": scheme, **values}, "bench scaling --simulate")
        except ConfigError:  # no cut of this network trains under it
            return [None] * self.n

        def learner(k: int) -> ModuleLearner | None:
            try:
                return SCHEMES.get(scheme)(self.plan.specs[k], self.chains[k], self.plan.make_task(), config, lag=2)
            except ConfigError:  # not at this boundary
                return None

        return [learner(k) for k in range(self.n)]

    def measure(self, microbatch: int, seconds: float) -> Costs:
        rounds, begin = 0, time.perf_counter()
        while rounds < WARM_UP + LEAST or (time.perf_counter() - begin < seconds and rounds < WARM_UP + MOST):
            self._round(rounds, microbatch)
            rounds += 1
        return self._costs(microbatch)

    # one round ---------------------------------------------------------------------------------------

    def _round(self, t: int, microbatch: int) -> None:
        x = self._timed("data", 0, self.module._x, t)
        y = self.module._real(self.module.batches.y(t))
        h_ins, hs, gradients = self._train(x, y, "")
        for k, learner in enumerate(self.own):
            self._timed("update", k, learner.update)
        self._weights_alone(h_ins, gradients, x, y, "")  # updates have taken the gradients away
        self._beside(h_ins, hs, gradients, x, y)
        for p in self._parameters():
            p.grad = torch.zeros_like(p)  # a microbatch adds to what those before it left
        x, y = x[:microbatch], y[:microbatch]
        h_ins, _, gradients = self._train(x, y, " of microbatch")
        self._weights_alone(h_ins, gradients, x, y, " of microbatch")
        for p in self._parameters():
            p.grad = None

    def _train(self, x: Tensor, y: Tensor, size: str) -> tuple[list[Tensor], list[Tensor], list[Tensor | None]]:
        """Forward and backward of every block: its input, its output, and the gradient that came to the output."""
        h_ins: list[Tensor] = []
        ends: list[_End] = []
        for k in range(self.n):
            h_ins.append(ends[-1].h.detach().requires_grad_() if ends else x)
            ends.append(self._timed("forward" + size, k, self._forward, k, h_ins[k], x, y))
        gradients: list[Tensor | None] = [None] * self.n
        for k in reversed(range(self.n)):
            gradients[k] = h_ins[k + 1].grad if k < self.n - 1 else None
            self._timed("backward" + size, k, ends[k].backward, gradients[k])
        return h_ins, [end.h for end in ends], gradients

    def _weights_alone(
        self, h_ins: list[Tensor], gradients: list[Tensor | None], x: Tensor, y: Tensor, size: str
    ) -> None:
        """The backward passes of blocks whose input nobody wants a gradient of, as under dfa."""
        for k in range(1, self.n):
            end = self._forward(k, h_ins[k].detach(), x, y)
            self._timed("weight" + size, k, end.backward, gradients[k])

    def _beside(
        self, h_ins: list[Tensor], hs: list[Tensor], gradients: list[Tensor | None], x: Tensor, y: Tensor
    ) -> None:
        """What the schemes compute beside a block."""
        batch, error = Batch(x, y), torch.zeros(len(x), *self.plan.specs[-1].out_shape, dtype=self.module.dtype)
        for k in range(self.n):
            h_in, h = h_ins[k].detach(), hs[k].detach()
            gradient = torch.zeros_like(h) if (found := gradients[k]) is None else found
            for name, learner in (("dfa", self.dfa[k]), ("dni", self.dni[k]), ("cdni", self.cdni[k])):
                if learner is not None:
                    for part, run in learner.work_beside(h_in, h, gradient, error, batch, self.module):
                        self._timed(f"{name} {part}", k, run)
                    learner.series.clear()

    def _forward(self, k: int, h_in: Tensor, x: Tensor, y: Tensor) -> _End:
        batch, task = Batch(x, y), self.own[k].task
        h, local = self.own[k].run_chain(h_in, batch)
        return _End(h, task.loss(h, task.target(batch)) if k == self.n - 1 else None, local)

    def _timed(self, part: str, block: int, work: Callable[..., T], *arguments: Any) -> T:
        begin = time.thread_time()
        result = work(*arguments)
        self.seconds[part, block].append(time.thread_time() - begin)
        return result

    def _parameters(self) -> list[Tensor]:
        return [p for learner in self.own for p in learner.trainable]

    # what the rounds gave ----------------------------------------------------------------------------

    def _costs(self, microbatch: int) -> Costs:
        whole = {part: self._medians(part) for part in ("forward", "backward", "weight")}
        small = {part: self._medians(f"{part} of microbatch") for part in whole}
        for times in (whole, small):
            times["weight"][0] = times["backward"][0]  # nobody wants the gradient of x
            times["weight"] = np.minimum(times["weight"], times["backward"])
            times["input"] = times["backward"] - times["weight"]
        share = microbatch / self.rows

        def call(part: str) -> Array:
            """The constant of `constant + examples * slope` through both sizes."""
            if share == 1:
                return np.zeros(self.n)
            return np.clip((small[part] - share * whole[part]) / (1 - share), 0.0, whole[part])

        width = DTYPES[self.plan.config.train.precision].itemsize
        sizes = [torch.Size(spec.out_shape).numel() for spec in self.plan.specs]
        return Costs(
            batch=self.rows,
            data=float(self._medians("data")[0]),
            error_bytes=float(self.rows * math.prod(self.plan.specs[-1].out_shape) * width),
            forward=whole["forward"],
            backward_input=whole["input"],
            backward_weight=whole["weight"],
            update=self._medians("update"),
            forward_call=call("forward"),
            backward_input_call=call("input"),
            backward_weight_call=call("weight"),
            project=self._beside_block("dfa project", self.dfa),
            entry_input=whole["input"],
            inputs_predict=self._beside_block("cdni inputs predict", self.cdni),
            inputs_learn=self._beside_block("cdni inputs learn", self.cdni),
            dni_predict=self._beside_block("dni predict", self.dni),
            dni_learn=self._beside_block("dni learn", self.dni),
            cdni_predict=self._beside_block("cdni predict", self.cdni),
            cdni_learn=self._beside_block("cdni learn", self.cdni),
            bytes_out=np.array([float(self.rows * size * width) for size in sizes]),
        )

    def _medians(self, part: str) -> Array:
        """Seconds `(blocks,)`; 0 if the part was never run."""
        return np.array([median(self.seconds[part, k][WARM_UP:] or [0.0]) for k in range(self.n)])

    def _beside_block(self, part: str, learners: Sequence[ModuleLearner | None]) -> Array:
        """The same, and inf if the scheme does not fit."""
        return np.where([learner is None for learner in learners], np.inf, self._medians(part))


@dataclass
class _End:
    """Where the gradient enters a block: at its output, or at the loss."""

    h: Tensor
    loss: Tensor | None
    local: Tensor | None

    def backward(self, gradient: Tensor | None) -> None:
        pairs = [(self.loss, None) if self.loss is not None else (self.h, gradient), (self.local, None)]
        given = [(end, g) for end, g in pairs if end is not None and end.requires_grad]
        if given:
            torch.autograd.backward([end for end, _ in given], [g for _, g in given])
