"""Decoupled Neural Interfaces: synthetic gradients in place of the true ones.

Jaderberg et al. 2017, "Decoupled Neural Interfaces using Synthetic Gradients", arXiv:1608.05343, section 2.

    g_k = M_k(h_k)           for k < K: module k updates at once, without waiting (update unlocked)
    g_K = delta_K            the last module has the loss
    M_k learns by || M_k(h_k) - t_k ||^2

where t_k is what module k+1 finds at its own input when it applies its g_{k+1}: bootstrapped, and the true
gradient for k = K-1. cdni conditions M_k on the label too: M_k(h_k, c).

M speaks per example (per position if the loss is a mean over positions): what is injected is M_k(h_k) / B, or
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
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlocked.chain import WRITING, operations
from unlocked.errors import ConfigError, reason
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config, OptimizerConfig
from unlocked.schema.passes import examples_per_pass, one_example
from unlocked.schemes.base import ModuleLearner, Ports, backward
from unlocked.schemes.declarations import Beside
from unlocked.schemes.inputs import InputModelConfig, make_input_model
from unlocked.schemes.layout import has_padding
from unlocked.schemes.loss_scale import finite
from unlocked.schemes.registry import options_of, register_scheme
from unlocked.schemes.sg import GraphGradient, PaddedGradient, SGConfig, SyntheticGradient
from unlocked.schemes.spec import ModuleSpec
from unlocked.seeding import drawn
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain
from unlocked_models.graph import has_edges

# Over h_k, beside those of M's layers: scaling a prediction, comparing it with its target, the messages. A ResNet's
# synthetic gradients take the time of about this many (on maps they are little else).
SG_PASSES = 12
SIZED_EVERY = 5  # minibatches: how large the target is takes one more pass over it

Terms = int | Tensor


@dataclass
class DNIOptions:
    sg: SGConfig = group(SGConfig)
    synthetic_inputs: bool = key(False, "modules also run without waiting for the activations below", binding=True)
    inputs: InputModelConfig = group(InputModelConfig)


def reads_batch(sg: nn.Module) -> bool:
    return "batch" in inspect.signature(sg.forward).parameters


@register_scheme("dni")
class DNI(ModuleLearner):
    Options = DNIOptions
    options: DNIOptions
    feedback_from = "above"
    alone_is_backprop = True
    passes_gradients = True
    conditional: ClassVar[bool] = False
    helps: ClassVar[str] = (
        "a higher scheme.sg.lr than optimizer.lr, a wider scheme.sg.hidden, conditioning on the label, or a longer run "
        "usually helps"
    )

    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "sg/loss": "the synthetic-gradient loss",
        "sg/relative_loss": "the synthetic-gradient loss over its target's size",
        "inputs/loss": "the input model's loss",
    }
    sg: nn.Module | None = None
    sg_optimizer: torch.optim.Optimizer | None = None
    inputs: nn.Module | None = None
    inputs_optimizer: torch.optim.Optimizer | None = None

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self.learns_inputs = self.inputs is not None
        # per minibatch whose target has not come: h_k, context, the minibatch if M reads it, its terms, and at lag 0
        # the prediction with its graph
        self.kept: deque[tuple[Tensor, Tensor | None, Batch | None, Terms, Tensor | None]] = deque()
        if self.sg is not None:
            self.sees_batch = reads_batch(self.sg)
            self.holds("kept", self.kept)

    @classmethod
    def beside(cls, config: Config, spec: ModuleSpec, task: Task) -> dict[str, Beside]:
        options, found = options_of(cls, config), dict[str, Beside]()
        if not spec.is_last:
            sg = options.sg
            with drawn(config.seed, "sg", spec.stop):
                model = cls.make_sg(config, spec.out_shape, task, spec.example, spec.apart)
            found["sg"] = Beside(model, OptimizerConfig(name=sg.optimizer, lr=sg.lr or config.optimizer.lr))
        if options.synthetic_inputs and not spec.is_first:
            with drawn(config.seed, "inputs", spec.start):
                guess = make_input_model(options.inputs, spec)
            found["inputs"] = Beside(guess, OptimizerConfig(lr=options.inputs.lr or config.optimizer.lr))
        return found

    @classmethod
    def check(cls, config: Config) -> None:
        sg = options_of(cls, config).sg
        if sg.rank is not None and sg.kind != "linear":
            raise ConfigError(f"scheme.sg.rank: {sg.rank} needs scheme.sg.kind=linear, not {sg.kind!r}")
        if sg.kind == "linear" and sg.hidden:
            raise ConfigError(f"scheme.sg.hidden: {sg.hidden} with kind linear; use kind mlp or conv")
        if sg.kind == "mlp" and not sg.hidden:
            raise ConfigError("scheme.sg.hidden: kind mlp needs at least one hidden width, such as [128]")

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        """Of models M and I that do not fit a boundary, or need more examples than a pass has: they cost nothing here,
        on the device "meta"."""
        options, alone = options_of(cls, config), examples_per_pass(config) == 1
        if options.sg.hops and not has_edges(specs[0].example):
            raise ConfigError(
                f"scheme.sg.hops: {options.sg.hops} follows edges of a graph, and {config.data.name} has none; set 0"
            )
        with torch.device("meta"):
            for spec in specs:
                if not spec.is_last:
                    M, h = SyntheticGradient(options.sg, spec.out_shape), torch.zeros(1, *spec.out_shape)
                    if alone:
                        _refuse_one(config, M, h, f"module {spec.index}'s synthetic gradients", "scheme.sg.norm=none")
                if alone and options.synthetic_inputs and not spec.is_first:
                    example = spec.example
                    x = torch.zeros(1, *example.in_shape, dtype=torch.long if example.vocabulary else torch.float32)
                    guess = make_input_model(options.inputs, spec)
                    _refuse_one(config, guess, x, f"module {spec.index}'s synthetic inputs", "scheme.inputs.hidden=[]")
        return None

    @classmethod
    def cost(cls, config: Config, spec: ModuleSpec, task: Task) -> float:
        if not spec.out_shape or (options_of(cls, config).sg.hops and not has_edges(spec.example)):
            return 0.0  # `refuse` and the rehearsal say it
        try:
            M = cls.make_sg(config, spec.out_shape, task, spec.example, spec.apart)
        except ConfigError:  # this kind of M does not fit here; if no cut avoids it, that is said
            return math.inf
        like = next(M.parameters(), torch.empty(0))
        batch = spec.example.batch(2, like.device, like.dtype)
        h = torch.zeros(2, *spec.out_shape, device=like.device)
        seen = (task.context(batch, spec.example, h),) if cls.conditional else ()
        reads = {"batch": batch} if reads_batch(M) else {}
        forward = operations(lambda: M.eval()(h, *seen, **reads)) / len(h)
        # forward to predict, then forward and backward to learn; and what the numbers of h_k are written for
        return 3 * forward + SG_PASSES * WRITING * math.prod(spec.out_shape)

    @classmethod
    def late_inputs(cls, config: Config) -> bool:
        return bool(options_of(cls, config).synthetic_inputs)

    @classmethod
    def make_sg(
        cls, config: Config, shape: tuple[int, ...], task: Task, example: Example, apart: bool = False
    ) -> SyntheticGradient:
        """M of a boundary of this shape; `apart`: its positions are not those of the targets.

        Called as `M(h)`, or `M(h, context)` if conditional; one whose `forward` names an argument `batch` is also given
        the minibatch: what its data adds (the edges of a graph) tells which places of h are neighbours.
        """
        sg = options_of(cls, config).sg
        kind = GraphGradient if sg.hops else SyntheticGradient
        if not sg.hops and not apart and has_padding(shape, example):
            kind = PaddedGradient
        if not cls.conditional:
            return kind(sg, shape)
        return kind(sg, shape, task.context_at(shape, example), task.context_ids(example), apart)

    @classmethod
    def auto_lag(cls, modules: int) -> int:
        # a target is one tick away; the second hides the time the message travels
        return 0 if modules == 1 else 2

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        self.seed_step(t)
        if self.inputs is not None:
            begin = time.perf_counter()
            h_in = self._guess(h_in)  # what came in is x
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
        g = prediction.detach() / self._terms(batch, h_k)  # M speaks per example; the loss is a mean
        backward([h, local], [g, None])
        self.pass_down(h_in, ports)
        self.update()
        self.keep(h_k, c, batch, prediction if self.lag == 0 else None)

    def keep(self, h: Tensor, c: Tensor | None, batch: Batch, prediction: Tensor | None = None) -> None:
        """Until the target of this minibatch comes."""
        self.kept.append((h, c, batch if self.sees_batch else None, self._terms(batch, h), prediction))

    def absorb(self, t: int, message: Tensor, ports: Ports) -> None:
        """`message` is the gradient that module k+1 found at its input on minibatch t: M's target."""
        assert self.sg is not None
        assert self.sg_optimizer is not None
        begin = self._clock()
        h_k, c, batch, terms, prediction = self.kept.popleft()
        overflow = self.loss_scale is not None and not finite([message])  # above, which is no target
        if overflow and self.reduce is None and self.steps_instead is None:
            return  # of replicas each goes on: the others wait for it, and all leave out a step that is not finite
        if prediction is None:
            prediction = self._predict(h_k, c, batch)
        # the squared error per example and its gradient in two buffers: on feature maps the passes over memory
        # that autograd would make for them cost more than M itself
        error = message * terms
        sized = error.square().sum() if t % SIZED_EVERY == 0 else None
        error.sub_(prediction.detach())
        gradient = error * (-2 / len(h_k))
        squares = error.square_().sum()
        if not overflow:
            self.record("sg/loss", squares / len(h_k))
        if sized is not None and not overflow:  # a target of zero is no fault of M's: the series stays finite
            self.record("sg/relative_loss", (squares / sized.clamp_min(1e-30)).clamp_max(1e6))
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
        self.record("inputs/loss", error.square_().sum() / len(x))
        self.apply(self.inputs_optimizer)
        self.sg_seconds += self._clock() - begin

    def work_beside(
        self, h_in: Tensor, h: Tensor, gradient: Tensor, e: Tensor, batch: Batch, ports: Ports
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        if self.sg is not None:
            yield "predict", torch.no_grad()(lambda: self.injected([h], batch, e))
            self.keep(h, self._context(batch, h), batch)
            yield "learn", lambda: self.absorb(0, gradient, ports)
        if self.inputs is not None and batch.x is not None:
            x = batch.x
            yield "inputs predict", lambda: self._guess(x)
            yield "inputs learn", lambda: self.absorb_input(0, h_in, x)

    def _guess(self, x: Tensor) -> Tensor:
        assert self.inputs is not None
        with torch.no_grad():
            out: Tensor = self.inputs(x)
            return out

    def _terms(self, batch: Batch, h: Tensor) -> Terms:
        """Of how many the loss of a minibatch is the mean: its examples, or their positions."""
        return len(h) * self.task.terms_of(batch, batch.whole, self.spec.example)

    def _clock(self) -> float:
        """Seconds that stand still while gradients are averaged over replicas."""
        return time.perf_counter() - self.averaging_seconds

    def _context(self, batch: Batch, like: Tensor) -> Tensor | None:
        return None

    def _predict(self, h: Tensor, c: Tensor | None, batch: Batch | None) -> Tensor:
        assert self.sg is not None
        seen = {"batch": batch} if self.sees_batch else {}
        out: Tensor = self.sg(h, **seen) if c is None else self.sg(h, c, **seen)
        return out

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        # M speaks per example; the loss is a mean
        return [self._predict(h, self._context(batch, h), batch) / self._terms(batch, h) for h in points]

    def load_state(self, state: Mapping[str, Any]) -> None:
        if "kept" in state:  # checkpoints of version 0.1 have no minibatch, no terms and no prediction there
            state = {**state, "kept": [self._of_now(*entry) for entry in state["kept"]]}
        super().load_state(state)

    def _of_now(self, h: Tensor, c: Tensor | None, *more: Any) -> tuple[Any, ...]:
        return (h, c, *more) if len(more) == 3 else (h, c, None, len(h) * self.task.terms(self.spec.example), None)


@register_scheme("cdni")
class CDNI(DNI):
    """Conditional DNI: the label is concatenated to what M sees, one constant plane per class on maps."""

    conditional = True
    needs_labels = True

    def _context(self, batch: Batch, like: Tensor) -> Tensor:
        return self.task.context(batch, self.spec.example, like)


def _refuse_one(config: Config, model: nn.Module, x: Tensor, what: str, remedy: str) -> None:
    try:
        model(x)
    except ValueError as error:
        raise ConfigError(
            f"{one_example(config)}, on which the model of {what} cannot train: {reason(error)}; take a "
            f"larger minibatch, or {remedy}"
        ) from None
