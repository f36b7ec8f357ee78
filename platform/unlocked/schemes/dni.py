"""Decoupled Neural Interfaces: synthetic gradients in place of the true ones.

Jaderberg et al. 2017, "Decoupled Neural Interfaces using Synthetic Gradients", arXiv:1608.05343, section 2.

    g_k = M_k(h_k)           for k < K: module k updates at once, without waiting (update unlocked)
    g_K = delta_K            the last module has the loss
    M_k learns by || M_k(h_k) - t_k ||^2

where t_k is what module k+1 finds at its own input when it applies its g_{k+1}: bootstrapped, and the true
gradient for k = K-1. cdni conditions M_k on the label too: M_k(h_k, c).

M speaks per example (per position where the loss is a mean over positions): what is injected is M_k(h_k) / B, or
/ (B T), and t_k is as many times what is found. M's last layer starts at zero: the first update of a module below the
last is zero, but for weight decay and for its blocks' own losses. Schedules and warm-up of the optimiser scale the
rates of M and I as they scale the module's; clipping is of the module alone.

With synthetic inputs module k also does not wait for h_{k-1}: it runs on I_k(x), and I_k learns by
|| I_k(x) - h_{k-1} ||^2 when the activations of the module below arrive, `lag` minibatches late. Forward pass, update
and backward pass are then all unlocked. What is evaluated is always the chain itself.

Lag: a module's own update never waits, only M learns late. With lag D it learns at step t from the target
of minibatch t-D, at the kept h_k and with M as it then is; at lag 0 from the very prediction it made.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlocked.optim import build_optimizer
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config, OptimizerConfig
from unlocked.schemes.base import ModuleLearner, ModuleSpec, Ports, backward
from unlocked.schemes.inputs import InputModelConfig, make_input_model
from unlocked.schemes.registry import options_of, register_scheme
from unlocked.schemes.sg import SGConfig, SyntheticGradient
from unlocked.seeding import derive_seed
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain, encodes


@dataclass
class DNIOptions:
    sg: SGConfig = group(SGConfig)
    synthetic_inputs: bool = key(False, "modules also run without waiting for the activations below")
    inputs: InputModelConfig = group(InputModelConfig)


@register_scheme("dni")
class DNI(ModuleLearner):
    Options = DNIOptions
    options: DNIOptions
    feedback_from = "above"
    passes_gradients = True
    conditional: ClassVar[bool] = False

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self._terms = task.terms(spec.example)
        self.sg: nn.Module | None = None
        self.sg_optimizer: torch.optim.Optimizer | None = None
        # per minibatch whose target has not come: h_k, context, the minibatch if M reads it, and at lag 0 the
        # prediction with its graph
        self.kept: deque[tuple[Tensor, Tensor | None, Batch | None, Tensor | None]] = deque()
        self.inputs: nn.Module | None = None
        self.inputs_optimizer: torch.optim.Optimizer | None = None
        if not spec.is_last:
            sg = self.options.sg
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(derive_seed(config.seed, "sg", spec.stop))
                model = self.make_sg(config, spec.out_shape, task, spec.example, encodes(chain[-1]))
            self.sg = self.holds("sg", model)
            self.sees_batch = "batch" in inspect.signature(model.forward).parameters
            optimizer = OptimizerConfig(name=sg.optimizer, lr=sg.lr or config.optimizer.lr)
            self.sg_optimizer = self.holds("sg_optimizer", build_optimizer(optimizer, self.sg.parameters()))
            self.holds("kept", self.kept)
        if self.options.synthetic_inputs and not spec.is_first:
            self.learns_inputs = True
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(derive_seed(config.seed, "inputs", spec.start))
                self.inputs = self.holds("inputs", make_input_model(self.options.inputs, spec))
            optimizer = OptimizerConfig(lr=self.options.inputs.lr or config.optimizer.lr)
            self.inputs_optimizer = self.holds("inputs_optimizer", build_optimizer(optimizer, self.inputs.parameters()))

    @classmethod
    def make_sg(
        cls, config: Config, shape: tuple[int, ...], task: Task, example: Example, apart: bool = False
    ) -> SyntheticGradient:
        """M of a boundary of this shape; `apart`: its positions are not those of the targets.

        Called as `M(h)`, or `M(h, context)` if conditional; one whose `forward` names an argument `batch` is also given
        the minibatch: what its data adds (the edges of a graph) tells which places of h are neighbours.
        """
        sg = options_of(cls, config).sg
        if not cls.conditional:
            return SyntheticGradient(sg, shape)
        context = task.context_shape(example)
        return SyntheticGradient(sg, shape, context, task.context_ids(example), apart)

    @classmethod
    def auto_lag(cls, modules: int) -> int:
        # a target is one tick away; the second hides the time the message travels
        return 0 if modules == 1 else 2

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        self.seed_step(t)
        if self.inputs is not None:
            begin = time.perf_counter()
            with torch.no_grad():
                h_in = self.inputs(h_in)  # what came in is x
            self.sg_seconds += time.perf_counter() - begin
        if not self.spec.is_first:
            h_in = h_in.detach().requires_grad_()
        if self.spec.is_last:
            self.learn_from_loss(h_in, batch, ports)
            return
        h, local = self.run_chain(h_in, batch)
        h_k = h.detach()
        ports.up(h_k)
        begin = time.perf_counter()
        c = self._context(batch, h_k)
        with torch.set_grad_enabled(self.lag == 0):
            prediction = self._predict(h_k, c, batch)
        self.sg_seconds += time.perf_counter() - begin
        g = prediction.detach() / (len(h_k) * self._terms)  # M speaks per example; the loss is a mean
        backward([h, local], [g, None])
        self.pass_down(h_in, ports)
        self.update()
        self.kept.append((h_k, c, batch if self.sees_batch else None, prediction if self.lag == 0 else None))

    def absorb(self, t: int, message: Tensor, ports: Ports) -> None:
        """`message` is the gradient that module k+1 found at its input on minibatch t: M's target."""
        assert self.sg is not None
        assert self.sg_optimizer is not None
        begin = self._clock()
        h_k, c, batch, prediction = self.kept.popleft()
        if prediction is None:
            prediction = self._predict(h_k, c, batch)
        # the squared error per example and its gradient in two buffers: on feature maps the passes over memory
        # that autograd would make for them cost more than M itself
        error = (message * (len(h_k) * self._terms)).sub_(prediction.detach())
        gradient = error * (-2 / len(h_k))
        self.record("sg", error.square_().sum() / len(h_k))
        if not prediction.requires_grad:  # an M without parameters, such as an oracle
            return
        prediction.backward(gradient)
        self.apply(self.sg_optimizer)
        self.sg_seconds += self._clock() - begin

    def absorb_input(self, t: int, h_in: Tensor, x: Tensor) -> None:
        assert self.inputs is not None
        assert self.inputs_optimizer is not None
        begin = self._clock()
        guess = self.inputs(x)
        error = h_in - guess.detach()
        guess.backward(error * (-2 / len(x)))
        self.record("inputs", error.square_().sum() / len(x))
        self.apply(self.inputs_optimizer)
        self.sg_seconds += self._clock() - begin

    def _clock(self) -> float:
        """Seconds that stand still while gradients are averaged over replicas."""
        return time.perf_counter() - self.averaging_seconds

    def _context(self, batch: Batch, like: Tensor) -> Tensor | None:
        return None

    def _predict(self, h: Tensor, c: Tensor | None, batch: Batch | None) -> Tensor:
        assert self.sg is not None
        seen = {"batch": batch} if self.sees_batch else {}
        return self.sg(h, **seen) if c is None else self.sg(h, c, **seen)

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        # M speaks per example; the loss is a mean
        return [self._predict(h, self._context(batch, h), batch) / (len(h) * self._terms) for h in points]

    def load_state(self, state: Mapping[str, Any]) -> None:
        if "kept" in state:  # checkpoints of version 0.1 have no minibatch and no prediction there
            kept = [entry if len(entry) == 4 else (*entry[:2], None, None) for entry in state["kept"]]
            state = {**state, "kept": kept}
        super().load_state(state)


@register_scheme("cdni")
class CDNI(DNI):
    """Conditional DNI: the label is concatenated to what M sees, one constant plane per class on maps."""

    conditional = True
    needs_labels = True

    def _context(self, batch: Batch, like: Tensor) -> Tensor:
        return self.task.context(batch, self.spec.example, like)
