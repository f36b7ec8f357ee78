"""Several nets over workers: one module each. Every worker walks through the phases of a step in the same order.

In a phase a worker's module passes h on (its net is before the one that learns), or learns by its scheme, or passes h
on and then the exact gradient back (its net is after), or does nothing. Who receives waits, so the numbers are those of
`NetsGroup`, which does the same in one process.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unlocked.data import DataSet
from unlocked.engine.edges import edges, ends_of
from unlocked.engine.module import Ends, SegmentStats
from unlocked.engine.phases import FedModule, Feeds, of_all_phases
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES, Alignment
from unlocked.schemes.objective import Loss, Objective, left_alone
from unlocked.tasks.phases import Phase
from unlocked_models.contract.batch import Batch

IN_FLIGHT = 64  # messages that nobody has taken yet


class Mail:
    """Tensors between workers by rank, in the order of the sender's program, which is the receiver's."""

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self._dtype, self._device = dtype, device
        self._through_cpu = device.type == "cuda" and dist.get_backend() == "gloo"
        self._sent: deque[tuple[Any, Tensor]] = deque()
        self._numbers: Counter[tuple[str, int]] = Counter()  # messages so far, to and from each rank
        self.waited = 0.0  # seconds

    def send(self, rank: int, message: Tensor) -> None:
        message = message.detach().to(self._dtype).contiguous()
        message = message.cpu() if self._through_cpu else message.clone()
        self._sent.append((dist.isend(message, rank, tag=self._number("to", rank)), message))
        if len(self._sent) > IN_FLIGHT:
            self._sent.popleft()[0].wait()

    def receive(self, rank: int, shape: tuple[int, ...]) -> Tensor:
        buffer = torch.empty(shape, dtype=self._dtype, device="cpu" if self._through_cpu else self._device)
        begin = time.perf_counter()
        dist.recv(buffer, rank, tag=self._number("from", rank))
        self.waited += time.perf_counter() - begin
        return buffer.to(self._device)

    def _number(self, way: str, rank: int) -> int:
        """A message that is taken for another has another tag."""
        self._numbers[way, rank] += 1
        return self._numbers[way, rank] % 2**31


class _Line:
    """A link (`engine.links`) of one boundary, by mail."""

    waited = sent = 0.0

    def __init__(self, mail: Mail, rank: int, shape: tuple[int, ...] = ()):
        self._mail, self._rank, self._shape = mail, rank, shape

    def send(self, t: int, message: Tensor) -> None:
        self._mail.send(self._rank, message)

    def expect(self, start: int, stop: int) -> None: ...

    def receive(self, t: int) -> Tensor:
        return self._mail.receive(self._rank, self._shape)


class _Given(torch.autograd.Function):
    """A loss that was computed elsewhere, whose gradient at the output is e."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, loss: Tensor, e: Tensor) -> Tensor:
        ctx.save_for_backward(e)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (e,) = ctx.saved_tensors
        return gradient * e, None, None


class Elsewhere(Objective):
    """The loss through the nets after this one, whose modules other workers hold."""

    def __init__(self, mail: Mail, first: int, last: int):
        self._mail, self._first, self._last = mail, first, last  # ranks of the first and last module after it

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self._mail.send(self._first, output)
        e = self._mail.receive(self._first, tuple(output.shape))
        out: Tensor = _Given.apply(  # type: ignore[no-untyped-call]
            output, self._mail.receive(self._last, ()), e
        )
        return out


@dataclass(frozen=True)
class Part:
    """What this worker's module does when one net learns in phase `i`."""

    i: int
    phase: Phase
    learns: str
    role: str  # before | learns | after
    below: int | None  # rank of the module before this one on the path; None: it is fed the minibatch
    above: int | None  # of the one after it; None: it ends the path
    teacher: int  # rank of the last module of the net that learns


class ModuleApart:
    """Module `rank` of all modules of all nets, alone in its process."""

    def __init__(self, plan: Plan, data: DataSet, rank: int, device: torch.device):
        self._feeds = Feeds(plan, data, device)
        self._mail = Mail(DTYPES[plan.config.train.precision], device)
        self._plan = plan
        places = self._along(list(plan.nets))
        self._ranks = {place: i for i, place in enumerate(places)}
        self.net, self.index = places[rank]
        self._of_net = plan.nets[self.net]
        spec = self._of_net.specs[self.index]
        self._rows = plan.config.data.batch_size
        self._in_shape, self._out_shape = spec.in_shape, spec.out_shape
        phases = self._feeds.phases
        self.modules: dict[str, FedModule] = {}  # by phase
        for phase in phases:
            if self.net in phase.learns:
                beside = next(iter(self.modules.values()), None)
                module = FedModule(self._of_net, data, self.index, device, len(phases), beside)
                module.learner.waits = phase.waits
                module.connect(self._ends())
                self.modules[phase.name] = module
        self._home = next(iter(self.modules.values())).learner
        self._parts = [
            self._part(i, phase, net)
            for i, phase in enumerate(phases)
            if self.net in phase.path
            for net in phase.learns
        ]
        for part in self._parts:
            if part.role == "learns" and self.index == self._of_net.modules - 1:
                objective: Objective = Loss(part.phase.loss)
                if part.above is not None:
                    last = part.phase.path[-1]
                    objective = Elsewhere(self._mail, part.above, self._ranks[last, plan.nets[last].modules - 1])
                self.modules[part.phase.name].learner.objective = objective

    def _ends(self) -> Ends:
        """Links to the other modules of this net."""
        all_edges, mine = edges(self._of_net), self._ranks
        incoming = {
            edge: _Line(self._mail, mine[self.net, edge.source], (self._rows, *edge.shape)) for edge in all_edges
        }
        outgoing = {edge: _Line(self._mail, mine[self.net, edge.target]) for edge in all_edges}
        return ends_of(self.index, incoming, outgoing)

    def _along(self, path: Sequence[str]) -> list[tuple[str, int]]:
        """The modules of these nets, one after the other: net and index."""
        return [(net, k) for net in path for k in range(self._plan.nets[net].modules)]

    def _part(self, i: int, phase: Phase, learns: str) -> Part:
        """Of a phase whose path this net is in."""
        chain, place, learner = self._along(phase.path), phase.path.index(self.net), phase.path.index(learns)
        at = chain.index((self.net, self.index))
        return Part(
            i,
            phase,
            learns,
            role="before" if place < learner else "learns" if place == learner else "after",
            below=self._ranks[chain[at - 1]] if at > 0 else None,
            above=self._ranks[chain[at + 1]] if at + 1 < len(chain) else None,
            teacher=self._ranks[learns, self._plan.nets[learns].modules - 1],
        )

    # training ----------------------------------------------------------------------------------------

    @property
    def tick(self) -> int:
        """The minibatch it is at."""
        return max(module.tick for module in self.modules.values()) // len(self._feeds.phases)

    def run(self, start: int, stop: int, checkpoint_at: int) -> SegmentStats:
        phases, waited = len(self._feeds.phases), self._mail.waited
        for module in self.modules.values():
            module.begin(start * phases, stop * phases, checkpoint_at * phases)
        for t in range(start, stop):
            batch, done = self._feeds.minibatch(t), -1
            for part in self._parts:
                if part.i != done:
                    self._update_together(done)
                    done, fed = part.i, self._feeds.of_phase(part.i, t, batch)
                self._do(part, t * phases + part.i, fed)
            self._update_together(done)
        stats = of_all_phases({name: module.end(start, stop) for name, module in self.modules.items()})
        return replace(stats, waited=self._mail.waited - waited)

    def _update_together(self, i: int) -> None:
        """At the end of a phase in which several nets learn, each through the others as they were."""
        phase = self._feeds.phases[i] if i >= 0 else None
        if phase is not None and phase.updates_together and self.net in phase.learns:
            self.modules[phase.name].update()

    def _do(self, part: Part, u: int, fed: Batch) -> None:
        if part.role == "learns":
            module = self.modules[part.phase.name]
            module.fed = (self._input(part, fed), fed) if self.index == 0 else (torch.empty(0), fed)
            module.forward_phase(u)
            module.feedback_phase(u)
        elif part.role == "before":
            h = self._input(part, fed)
            with torch.no_grad(), left_alone(self._home.chain):
                out = self._home.passed(u, h, fed)
            assert part.above is not None
            self._mail.send(part.above, out)
        else:
            self._pass_and_return(part, u, fed)

    def _pass_and_return(self, part: Part, u: int, fed: Batch) -> None:
        h = self._input(part, fed).requires_grad_()
        with left_alone(self._home.chain):
            out = self._home.passed(u, h, fed)
        assert part.below is not None
        if part.above is None:
            loss, e = Loss(part.phase.loss)(out, fed)
            (below,) = torch.autograd.grad(out, h, e)
            self._mail.send(part.below, below)
            self._mail.send(part.teacher, loss)
        else:
            self._mail.send(part.above, out)
            (below,) = torch.autograd.grad(out, h, self._mail.receive(part.above, tuple(out.shape)))
            self._mail.send(part.below, below)

    def _input(self, part: Part, fed: Batch) -> Tensor:
        if part.below is not None:
            return self._mail.receive(part.below, (self._rows, *self._in_shape))
        assert fed.x is not None
        return fed.x

    # evaluation and probe ----------------------------------------------------------------------------

    def outputs(self, split: str) -> Tensor | None:
        """Of the task's `outcome`, from the worker of its last module; None from the others."""
        path = self._feeds.outcome.path
        if self.net not in path:
            return None
        chain, outs = self._along(path), list[Tensor]()
        at = chain.index((self.net, self.index))
        for fed in self._feeds.of_outcome(split):
            assert fed.x is not None
            h = fed.x
            if at > 0:
                h = self._mail.receive(self._ranks[chain[at - 1]], (len(fed.x), *self._in_shape))
            self._home.chain.eval()
            with torch.inference_mode():
                h = self._home.chain(h, fed)
            self._home.chain.train()
            if at + 1 < len(chain):
                self._mail.send(self._ranks[chain[at + 1]], h)
            else:
                outs.append(h.cpu())
        return torch.cat(outs) if outs else None

    def probe(self) -> Alignment | None:
        """As `NetsGroup.probe`, of this module."""
        batch, found = self._feeds.minibatch(0), None
        for net in self._plan.nets:
            name = self._plan.nets[net].phases[-1]
            for part in self._parts:
                if part.learns != net or part.phase.name != name:
                    continue
                fed = self._feeds.of_phase(part.i, 0, batch)
                if part.role != "learns":
                    self._do(part, part.i, fed)
                else:
                    found = self._probe(part, fed)
        return found

    def _probe(self, part: Part, fed: Batch) -> Alignment | None:
        module, k, last = self.modules[part.phase.name], self.index, self._of_net.modules - 1
        h = self._input(part, fed)
        module.fed = (h, fed)
        out = module.probe_forward(h)
        if k < last:
            assert part.above is not None
            self._mail.send(part.above, out)
            error = self._of_net.specs[last].error_shape or self._of_net.specs[last].out_shape
            e = self._mail.receive(self._ranks[self.net, last], (self._rows, *error))
            delta = self._mail.receive(self._ranks[self.net, k + 1], tuple(out.shape))
        else:
            delta, e = module.probe_loss()
            for other in range(last):
                self._mail.send(self._ranks[self.net, other], e)
        below, found = module.probe_backward(delta, e)
        if k > 0:
            self._mail.send(self._ranks[self.net, k - 1], delta if below is None else below)
        return found

    # state -------------------------------------------------------------------------------------------

    def state(self, t: int) -> dict[str, Any]:
        """Of every phase."""
        return {phase: module.state(t) for phase, module in self.modules.items()}

    def load_state(self, states: dict[str, Any]) -> None:
        for phase, module in self.modules.items():
            module.load_state(states[phase])

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        next(iter(self.modules.values())).load_weights(weights)

    def nonfinite(self) -> str | None:
        return next((name for module in self.modules.values() if (name := module.nonfinite()) is not None), None)

    def has_statistics(self) -> bool:
        return False
