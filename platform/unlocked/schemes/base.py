"""One module of the chain and how it learns: what every scheme shares.

With modules f_1..f_K, h_0 = x and h_k = f_k(h_{k-1}; theta_k), a scheme decides which gradient g_k is
injected at h_k, so that theta_k follows (dh_k/dtheta_k)^T g_k. A learner holds one module, its optimiser
and whatever its scheme learns beside it. The engine calls, for every minibatch t,

    step(t, h_{k-1}, batch, ports)      forward, send h_k up, and the update if g_k is known at once
    absorb(t - lag, message, ports)     what another module sent back about minibatch t - lag

in this order, so a learner's numbers depend on nothing but its own inputs: the same in one process as
over K workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unlocked.errors import RunFailed
from unlocked.optim import build_optimizer, searches
from unlocked.schema.keys import Config
from unlocked.schemes.adversary import Adversary
from unlocked.schemes.alignment import Alignment, align
from unlocked.schemes.declarations import Declarations
from unlocked.schemes.objective import Objective, OfTask
from unlocked.schemes.precision import DTYPES, SHORT, in_short
from unlocked.schemes.registry import BASE, options_of
from unlocked.schemes.spec import ModuleSpec
from unlocked.schemes.state import T
from unlocked.schemes.through_time import TimeGradients
from unlocked.schemes.units import counted
from unlocked.schemes.updating import Updating
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain, carrying

# Layers of torch that draw nothing: a chain of them alone needs no seed. Exact types; a subclass may draw.
DRAWS_NOTHING = frozenset(
    {
        nn.Sequential,
        nn.Flatten,
        nn.Identity,
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.AvgPool1d,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.LayerNorm,
        nn.GroupNorm,
        nn.ReLU,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.GELU,
        nn.SiLU,
        nn.Tanh,
        nn.Sigmoid,
        nn.Softplus,
    }
)


@dataclass
class _Probe:
    h: Tensor
    points: list[Tensor]
    out: Tensor
    batch: Batch
    buffers: list[Tensor]  # batch statistics as they were before the pass


class Ports(Protocol):
    """Where a learner sends: tensors without graph, which it must not change afterwards."""

    def up(self, h: Tensor) -> None:
        """h_k to module k + 1."""

    def down(self, message: Tensor) -> None:
        """To module k - 1, or from the last module to all others (`feedback_from = "last"`)."""


def backward(tensors: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> None:
    """Adds to the weights' gradients, given those at tensors of their graph (None: 1, at a scalar). Tensors that no
    weight has a part in, as of frozen blocks, are left out."""
    live = [(h, g) for h, g in zip(tensors, gradients, strict=True) if h is not None and h.requires_grad]
    if live:
        torch.autograd.backward([h for h, _ in live], [g for _, g in live])


class ModuleLearner(Declarations, Updating, ABC):
    """Base of the schemes. A subclass gives `step`, and `absorb` when it names a `feedback_from`."""

    sees_batch: bool = False  # what it learns beside its blocks reads the minibatch too, as a block with `batch` does
    waits: bool = False  # gradients are kept, and added to those of a later pass; set if a net learns in several phases
    adversary: Adversary | None = None  # set by the engine, which has the data
    learns_inputs: bool = False  # runs on synthetic inputs: h_{k-1} comes by `absorb_input`, `lag` late
    options: Any

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        self.spec, self.chain, self.task, self.config, self.lag = spec, chain, task, config, lag
        chain.recomputes = config.train.recompute
        if config.train.compile:
            chain.compile_blocks()
        self.objective: Objective = OfTask(task)
        self.options = options_of(type(self), config)
        self.device = next((p.device for p in chain.parameters()), torch.device("cpu"))
        self.dtype = DTYPES[config.train.precision]
        self.trainable = [p for p in chain.parameters() if p.requires_grad]
        if self.trainable:
            self._hold_optimizer(config)
        self._searches = searches(config.optimizer.name)
        self.series: dict[str, list[Tensor]] = {}  # metrics of the steps since the last read, on the device
        self.sg_seconds = 0.0  # so far, on what the scheme predicts and learns beside the module itself
        self.carrying = carrying([chain])  # layers that go on where the last minibatch ended
        self.time: TimeGradients | None = None
        if config.scheme.time.synthetic and self.carrying:
            like = next(chain.parameters()).detach()
            time_gradients = TimeGradients(config, self.carrying, spec.start, task.terms(spec.example), like)
            self.time = self.holds("time", time_gradients)
        self._local_loss_blocks = {i for i, block in enumerate(chain) if hasattr(block, "local_loss")}
        self.draw_as_replica(0)
        self._draws = not all(type(layer) in DRAWS_NOTHING for block in chain for layer in block.modules())
        self._short = SHORT.get(config.train.precision)
        self._probe: _Probe | None = None
        self._probing = False
        for name, (model, own) in self.beside(config, spec, task).items():
            setattr(self, name, self.holds(name, model))
            optimizer = build_optimizer(own, model.parameters())
            setattr(self, f"{name}_optimizer", self.holds(f"{name}_optimizer", optimizer))

    # what a scheme does --------------------------------------------------------------------------------

    @abstractmethod
    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        """Process minibatch t; `h_in (batch, *in_shape)` carries no graph."""

    def absorb(self, t: int, message: Tensor, ports: Ports) -> None:
        """Consume what was sent back about minibatch t; called in the order of t, `lag` minibatches late."""
        raise AssertionError(f"{type(self).__name__} takes no feedback")

    def absorb_input(self, t: int, h_in: Tensor, x: Tensor) -> None:
        """The true h_{k-1} of minibatch t, for a learner that ran on a synthetic one; `x` is the network's input."""
        raise AssertionError(f"{type(self).__name__} takes no late inputs")

    def work_beside(
        self, h_in: Tensor, h: Tensor, gradient: Tensor, e: Tensor, batch: Batch, ports: Ports
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        """What it computes for a minibatch beside its blocks, by part, to be called in this order and timed.

        `h_in` and `h`: input and output of the module; `gradient`: at h; `e`: of the error, at the net's output.
        """
        yield from ()

    def draw_as_replica(self, replica: int) -> None:
        """Dropout and the like differ between replicas; the first draws what a run without replicas draws."""
        own = ("replica", replica) if replica else ()
        self._rng_base = derive_seed(self.config.seed, "module", self.spec.start, *own)

    # what subclasses build on ------------------------------------------------------------------------

    def seed_step(self, t: int) -> None:
        """Dropout and the like draw from (seed, module, replica, t) alone: replays and resumed runs repeat them."""
        if not self._draws:
            return
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(step_seed(self._rng_base, t))
        torch.default_generator.manual_seed(step_seed(self._rng_base, t))

    def run_chain(
        self, h: Tensor, batch: Batch, after: Callable[[int, Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Output of the module and the sum of its blocks' own losses (None if there are none)."""
        self.carry([None] * len(self.carrying) if batch.fresh else self.carried())
        if self.time is None or not torch.is_grad_enabled() or self._probing:
            return self._run_blocks(h, batch, after)
        starts = self.time.enter()
        out, local = self._run_blocks(h, batch, after)
        beyond = self.time.leave(starts, batch.ends)
        if beyond is None:
            return out, local
        return out, beyond if local is None else local + beyond

    def _run_blocks(
        self, h: Tensor, batch: Batch, after: Callable[[int, Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        scale = None if self._probing else self.loss_scale
        # gradients of a probe pass are not scaled, so with float16 it runs in full
        short = None if self._probing and self._short is torch.float16 else self._short
        if not self._local_loss_blocks and short is None:
            return self.chain(h, batch, after), None
        if scale is not None:
            h = scale.leaving(h)
        local: list[Tensor] = []

        def visit(i: int, out: Tensor) -> Tensor:
            if i in self._local_loss_blocks:
                local.append(self.local_loss(i, out, batch))
            return after(i, out) if after is not None else out

        hook = visit if self._local_loss_blocks else after
        with in_short(short, self.device, self.spec.index):
            h = self.chain(h, batch, hook)
            if short is not None:
                h = h.float()
        if scale is not None:
            h = scale.entering(h)
        if not local:
            return h, None
        total = torch.stack(local).sum() if short is None else torch.stack(local).sum().float()
        if not self._probing:
            self.record("local/loss", total)
        return h, total if scale is None else scale.entering(total)

    def passed(self, t: int, h: Tensor, batch: Batch) -> Tensor:
        """Output in training mode, with the draws of pass t, for a pass in which the module does not learn."""
        self.seed_step(t)
        self._probing = True
        try:
            return self.run_chain(h, batch)[0]
        finally:
            self._probing = False

    def local_loss(self, i: int, h: Tensor, batch: Batch) -> Tensor:
        """What block i adds to the loss, given its output."""
        out: Tensor = self.chain[i].local_loss(h, batch)  # type: ignore[operator]
        return out

    def learn_from_loss(self, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        """The last module: the true gradient of the loss, at once; dL/dh_{K-1} goes down."""
        if self._searches:
            self._search(h_in, batch)
            return
        if self.adversary is not None:
            self.adversary.teach(self, h_in, batch)
            return
        h, local = self.run_chain(h_in, batch)
        loss = self.objective.loss(h, batch)
        self.record("loss", loss)
        whole = loss if local is None else loss + local
        if whole.requires_grad or self.trainable:  # else all of it is frozen, and no module below asks
            whole.backward()
        self.pass_down(h_in, ports)
        self.update()

    def learn_as_function(
        self, t: int, h_in: Tensor, batch: Batch, loss_of: Callable[[Callable[[Tensor], Tensor], Tensor, Batch], Tensor]
    ) -> None:
        """A net of one module, by a loss of what it is as a function: a penalty of its slope, say."""
        self.seed_step(t)
        loss = loss_of(lambda h: self.run_chain(h, batch)[0], h_in, batch)
        self.record("loss", loss)
        loss.backward()
        self.update()

    def pass_down(self, h_in: Tensor, ports: Ports) -> None:
        """Sends the gradient at the module's input to the module below, before the weights move."""
        if self.spec.is_first:
            return
        if h_in.grad is not None:
            ports.down(h_in.grad)
        elif self.passes_gradients:  # else the module below would wait for ever
            raise RunFailed(
                f"module {self.spec.index}: no gradient reached its input, which {self.config.scheme.name} "
                f"sends to the module below; one of its blocks detached this minibatch"
            )

    def record(self, name: str, value: Tensor) -> None:
        """A number of this step, `()`. Its mean over a segment is logged as the metric `<name>/module_k`; `loss` of the
        last module as `train/loss`."""
        values = self.series.get(name)
        if values is None:
            if not isinstance(value, Tensor) or value.dim() > 0:
                given = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise RunFailed(
                    f"{type(self).__name__}: record({name!r}, ...) takes one number, a tensor without axes, not {given}"
                )
            values = self.series[name] = []
        values.append(value.detach())

    def holds(
        self, name: str, thing: T, save: Callable[[], Any] | None = None, load: Callable[[Any], None] | None = None
    ) -> T:
        """As `Holder.holds`; a module is brought to the learner's device and dtype."""
        if isinstance(thing, nn.Module):
            thing.to(self.device, self.dtype)
        return super().holds(name, thing, save, load)

    def inner_modules(self) -> list[nn.Module]:
        """The blocks, and all modules that are held."""
        return [self.chain, *super().inner_modules()]

    # gradient alignment on a probe batch -------------------------------------------------------------

    def points(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Output, local loss, and the tensors in the graph at which this scheme injects a gradient."""
        out, local = self.run_chain(h, batch)
        return out, local, [] if self.spec.is_last else [out]

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        """The gradient that the scheme would inject at each point, at its scale; None if it injects nothing."""
        return [None] * len(points)

    def probe_forward(self, h_in: Tensor, batch: Batch) -> Tensor:
        """h_k of the probe batch in training mode; with `probe_backward` after it, no state has changed."""
        buffers, carried = [b.clone() for b in self.chain.buffers()], self.carried()
        self.seed_step(0)
        self._probing = True
        with torch.enable_grad():
            h = h_in.detach()
            if h.is_floating_point():
                h.requires_grad_()
            with counted(self.chain) as units:
                out, _, points = self.points(h, batch)
        self._probing = False
        for name, share in (("units/dead", units.dead), ("units/saturated", units.saturated)):
            if share is not None:
                self.record(name, share)
        self._probe = _Probe(h, points, out, batch, buffers)
        self.carry(carried)
        return out.detach()

    def probe_loss(self) -> tuple[Tensor, Tensor]:
        """dL/dh_K on the probe batch, from the last module, and the e that `injected` is given: the same."""
        assert self._probe is not None
        _, delta = self.objective(self._probe.out, self._probe.batch)
        return delta, delta

    def probe_backward(self, delta: Tensor, e: Tensor) -> tuple[Tensor | None, Alignment | None]:
        """Given the true dL/dh_k and e = dL/dh_K: dL/dh_{k-1}, and how the injected gradients stand to the true ones;
        None if nothing is injected, or no true gradient is other than zero."""
        assert self._probe is not None
        probe, self._probe = self._probe, None
        wanted = [probe.h, *probe.points] if probe.h.requires_grad else probe.points
        true: list[Tensor | None] = [None] * len(wanted)
        if wanted and probe.out.requires_grad:
            true = [*torch.autograd.grad(probe.out, wanted, delta, allow_unused=True)]
        below = true.pop(0) if probe.h.requires_grad else None
        if below is None and probe.h.is_floating_point():
            below = torch.zeros_like(probe.h)  # a block detaches
        with torch.no_grad():
            for buffer, saved in zip(self.chain.buffers(), probe.buffers, strict=True):
                buffer.copy_(saved)
            given = self.injected(probe.points, probe.batch, e)
            found = [
                align(g, d)
                for g, d in zip(given, true, strict=True)
                if g is not None and d is not None and bool(d.any())
            ]
        return below, (Alignment(*(sum(each) / len(found) for each in zip(*found, strict=True))) if found else None)

    # state -------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything but the weights of the chain, as tensors and plain values."""
        return {**super().state(), "carried": self.carried()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.carry(state["carried"])

    def carried(self) -> list[Tensor | None]:
        """The states in which the last minibatch ended, of the layers that go on from there."""
        return [
            None if layer.carried is None else layer.carried.detach()  # type: ignore[operator]
            for layer in self.carrying
        ]

    def carry(self, states: Sequence[Tensor | None]) -> None:
        for layer, state in zip(self.carrying, states, strict=True):
            layer.carried = state  # type: ignore[assignment]

    def prepare_checkpoint(self, at: int) -> None:
        """Told before a segment that the next checkpoint follows step `at - 1`."""


BASE.append(ModuleLearner)
