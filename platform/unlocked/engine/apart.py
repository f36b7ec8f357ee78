"""Several nets over workers. Every worker walks through the phases of a step in the same order.

In a phase a worker's module passes h on (its net is before the one that learns), or learns by its scheme, or passes h
on and then the exact gradient back (its net is after), or does nothing. Who receives waits, so the numbers are those of
`NetsGroup`, which does the same in one process. The modules of one worker take their turns in the order that
`NetsGroup` has, so that none waits for another of this worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.engine.edges import UP, Edge, edges, ends_of
from unlocked.engine.mail import Channel, Lesson, Line, Mail, Module, ThroughMail, channels, lessons_of, path_of
from unlocked.engine.module import Ends
from unlocked.engine.phases import FedModule, Feeds, Place, of_all_phases
from unlocked.engine.segments import SegmentStats
from unlocked.engine.spans import Spans
from unlocked.plan.blocks import build_net
from unlocked.plan.plan import Plan
from unlocked.schemes import Alignment
from unlocked.schemes.objective import Loss, left_alone
from unlocked_models.contract.batch import Batch


class _Turn(NamedTuple):
    """Whose turn it is on a worker, for what (`spans.Span`), at which step."""

    apart: ModuleApart | None = None
    what: str = ""
    t: int = 0


_NOBODY = _Turn()


class ModuleApart:
    """One module of one of several nets, in all phases."""

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        at: Module,
        device: torch.device,
        mail: Mail,
        lessons: Sequence[Lesson],
        shard: tuple[int, int],
        blocks: Sequence[nn.Module],
    ):
        self.net, self.index = self.at = at
        self._mail, self._of_net = mail, plan.nets[self.net]
        spec = self._of_net.specs[self.index]
        self.rows = plan.config.data.batch_size // shard[1]
        self._in_shape, self._out_shape = spec.in_shape, spec.out_shape
        self.phases = 1 + max(lesson.i for lesson in lessons)
        self.modules: dict[str, FedModule] = {}  # by phase
        for lesson in lessons:
            if lesson.learns == self.net:
                beside, name = next(iter(self.modules.values()), None), lesson.phase.name
                place = Place(lesson.i, self.phases)
                module = FedModule(self._of_net, data, self.index, device, place, beside, shard, blocks)
                module.learns_in(lesson.phase)
                module.spans = None  # the worker records them by turns
                module.connect(self._ends((name, self.net)))
                self.modules[name] = module
                if at == lesson.taught[-1]:
                    through = ThroughMail(mail, lesson) if lesson.after else Loss(lesson.phase.loss)
                    module.learner.objective = through
        self.home = next(iter(self.modules.values())).learner
        self.spans = Spans.of(self._of_net)
        if self.spans is not None:
            for module in self.modules.values():
                if not module.learner.waits:  # else all update in a turn of their own
                    self.spans.watch_updates(module.learner)
        self._passing: tuple[Tensor, Tensor] | None = None  # h and the output, until its gradient comes

    def _ends(self, use: tuple[str, ...]) -> Ends:
        """Links to the other modules of this net."""

        def line(edge: Edge) -> Line:
            kind = "up" if edge.channel == UP else "feedback"
            channel = Channel(use, kind, (self.net, edge.source), (self.net, edge.target))
            return Line(self._mail, channel, (self.rows, *edge.shape))

        lines = {edge: line(edge) for edge in edges(self._of_net)}
        return ends_of(self.index, lines, lines)

    # roles in a lesson -------------------------------------------------------------------------------

    def pass_on(self, lesson: Lesson, u: int, fed: Batch) -> None:
        """Before the net that learns."""
        h = self._input(lesson, fed)
        with torch.no_grad(), left_alone(self.home.chain):
            out = self.home.passed(u, h, fed)
        self._mail.send(self._channel(lesson, "up", self._above(lesson)), out)

    def run(self, lesson: Lesson, u: int, fed: Batch) -> None:
        """In the net that learns, up; `run_late` follows on the way down."""
        module = self.modules[lesson.phase.name]
        module.feed(u, self._input(lesson, fed) if self.index == 0 else torch.empty(0), fed)
        module.forward_phase(u)

    def run_late(self, lesson: Lesson, u: int) -> None:
        module = self.modules[lesson.phase.name]
        before = module.learner.sg_seconds
        module.feedback_phase(u)
        if self.spans is not None and (seconds := module.learner.sg_seconds - before):
            now = time.time()
            self.spans.add("M", self.spans.now, now - seconds, now)

    def pass_through(self, lesson: Lesson, u: int, fed: Batch) -> None:
        """After the net that learns, up; `pass_back` follows."""
        h = self._input(lesson, fed).requires_grad_()
        with left_alone(self.home.chain):
            out = self.home.passed(u, h, fed)
        if self.at != lesson.path[-1]:
            self._mail.send(self._channel(lesson, "up", self._above(lesson)), out)
        self._passing = h, out

    def pass_back(self, lesson: Lesson, fed: Batch) -> None:
        assert self._passing is not None
        (h, out), self._passing = self._passing, None
        if self.at == lesson.path[-1]:
            loss, e = Loss(lesson.phase.loss)(out, fed)
            self._mail.send(self._channel(lesson, "loss", lesson.taught[-1]), loss)
        else:
            above = Channel((lesson.phase.name, lesson.learns), "down", self._above(lesson), self.at)
            e = self._mail.receive(above, tuple(out.shape))
        (below,) = torch.autograd.grad(out, h, e)
        self._mail.send(self._channel(lesson, "down", self._below(lesson)), below)

    def _input(self, lesson: Lesson, fed: Batch) -> Tensor:
        if self.at != lesson.path[0]:
            channel = Channel((lesson.phase.name, lesson.learns), "up", self._below(lesson), self.at)
            return self._mail.receive(channel, (self.rows, *self._in_shape))
        assert fed.x is not None
        return fed.x

    def _channel(self, lesson: Lesson, kind: str, target: Module) -> Channel:
        return Channel((lesson.phase.name, lesson.learns), kind, self.at, target)

    def _below(self, lesson: Lesson) -> Module:
        return lesson.path[lesson.path.index(self.at) - 1]

    def _above(self, lesson: Lesson) -> Module:
        return lesson.path[lesson.path.index(self.at) + 1]

    # evaluation and probe ----------------------------------------------------------------------------

    def output(self, path: Sequence[Module], fed: Batch) -> Tensor | None:
        """In evaluation mode, on the way through the nets of the task's `outcome`; None if there is more of it."""
        assert fed.x is not None
        h, place = fed.x, path.index(self.at)
        if place > 0:
            channel = Channel(("outcome",), "up", path[place - 1], self.at)
            h = self._mail.receive(channel, (len(fed.x), *self._in_shape))
        self.home.chain.eval()
        with self.home.evaluated(), torch.inference_mode():
            out: Tensor = self.home.chain(h, fed)
        self.home.chain.train()
        if place + 1 == len(path):
            return out.cpu()
        self._mail.send(Channel(("outcome",), "up", self.at, path[place + 1]), out)
        return None

    def probe_up(self, lesson: Lesson, fed: Batch) -> None:
        module, h = self.modules[lesson.phase.name], self._input(lesson, fed)
        module.fed = (h, fed)
        out = module.probe_forward(h)
        if self.at != lesson.taught[-1]:
            self._mail.send(self._channel(lesson, "up", self._above(lesson)), out)

    def probe_down(self, lesson: Lesson) -> Alignment | None:
        """Of the scheme's gradients, held against the true ones."""
        module, last = self.modules[lesson.phase.name], lesson.taught[-1]
        use = "probe", lesson.phase.name, lesson.learns
        if self.at == last:
            delta, e = module.probe_loss()
            for other in lesson.taught[:-1]:
                self._mail.send(Channel(use, "error", last, other), e)
        else:
            top = self._of_net.specs[-1]
            error = (self.rows, *(top.error_shape or top.out_shape))
            e = self._mail.receive(Channel(use, "error", last, self.at), error)
            above = Channel(use, "down", self._above(lesson), self.at)
            delta = self._mail.receive(above, (self.rows, *self._out_shape))
        below, found = module.probe_backward(delta, e)
        if self.index > 0:
            self._mail.send(Channel(use, "down", self.at, self._below(lesson)), delta if below is None else below)
        return found

    # what is asked of each module --------------------------------------------------------------------

    @property
    def tick(self) -> int:
        """The minibatch it is at."""
        return max(module.tick for module in self.modules.values()) // self.phases

    def average_over(self, gradients: Callable[..., None], buffers: Callable[..., None]) -> None:
        """As `ModuleRunner.average_over`; all phases have the same buffers."""
        for module in self.modules.values():
            module.learner.reduce = gradients
        next(iter(self.modules.values())).average_buffers = buffers

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


class NetsApart:
    """All modules that one worker holds of several nets, and their turns."""

    def __init__(self, plan: Plan, data: DataSet, worker: int, device: torch.device, shard: tuple[int, int] = (0, 1)):
        self._plan, self._feeds = plan, Feeds(plan, data, device, shard)
        self._lessons = lessons_of(plan, self._feeds.phases)
        self._outcome = path_of(plan, self._feeds.outcome.path)
        self._mail = Mail(plan, channels(plan, self._lessons, self._outcome), device, shard)
        everywhere = path_of(plan, list(plan.nets))
        mine = [everywhere[i] for i in plan.held_by(worker)]
        held: dict[str, list[int]] = {}
        for net, k in mine:
            held.setdefault(net, []).append(k)
        blocks = {net: build_net(plan.nets[net], ks) for net, ks in held.items()}
        self.modules = [
            ModuleApart(plan, data, at, device, self._mail, self._lessons, shard, blocks[at[0]]) for at in mine
        ]
        self._by_place = {module.at: module for module in self.modules}
        self._spent, self._waited = dict[Any, float](), dict[Any, float]()  # seconds, by module
        self._turn = _NOBODY
        self._mark = (0.0, 0.0)
        if self.modules[0].spans is not None:
            self._mail.told = self._waited_between

    def run(self, start: int, stop: int, checkpoint_at: int) -> list[SegmentStats]:
        phases = self._feeds.phases
        self._spent, self._waited, self._mark = {}, {}, (time.perf_counter(), self._mail.waited)
        for apart in self.modules:
            for module in apart.modules.values():
                module.begin(start * len(phases), stop * len(phases), checkpoint_at * len(phases))
        for t in range(start, stop):
            batch = self._feeds.minibatch(t)
            for i, phase in enumerate(phases):
                if not phase.runs_at(t):
                    continue
                lessons = [each for each in self._lessons if each.i == i and self._held(each.path)]
                fed = self._feeds.of_phase(i, t, batch) if lessons else batch
                for lesson in lessons:
                    self._learn(lesson, t * len(phases) + i, fed)
                if phase.updates_together:  # each learned through the others as they were
                    for apart in self._held([module for each in lessons for module in each.taught]):
                        with self._at(apart, "update", t):
                            apart.modules[phase.name].update()
        return [self._stats(apart, start, stop) for apart in self.modules]

    def _held(self, path: Sequence[Module]) -> list[ModuleApart]:
        return [self._by_place[at] for at in path if at in self._by_place]

    def _learn(self, lesson: Lesson, u: int, fed: Batch) -> None:
        t = u // len(self._feeds.phases)
        for apart in self._held(lesson.before):
            with self._at(apart, "passing", t):
                apart.pass_on(lesson, u, fed)
        taught = self._held(lesson.taught)
        with self._passing_through(lesson, u, fed):
            for apart in taught:
                with self._at(apart, "forward", t):
                    apart.run(lesson, u, fed)
        for apart in reversed(taught):
            with self._at(apart, "feedback", t):
                apart.run_late(lesson, u)

    @contextmanager
    def _passing_through(self, lesson: Lesson, u: int, fed: Batch) -> Iterator[None]:
        """The modules after the net that learns: in the midst of the step of its last module, if that is held here."""
        after, t = self._held(lesson.after), u // len(self._feeds.phases)

        def there_and_back() -> None:
            for apart in after:
                with self._at(apart, "passing", t):
                    apart.pass_through(lesson, u, fed)
            for apart in reversed(after):
                with self._at(apart, "passing", t):
                    apart.pass_back(lesson, fed)

        last = self._by_place.get(lesson.taught[-1])
        objective = last.modules[lesson.phase.name].learner.objective if last is not None else None
        if isinstance(objective, ThroughMail):
            objective.meanwhile = there_and_back
        yield
        if last is None:
            there_and_back()

    # evaluation and probe ----------------------------------------------------------------------------

    def outputs(self, split: str) -> Tensor | None:
        """Of the task's `outcome`, from the worker of its last module; None from the others."""
        path, outs = self._outcome, list[Tensor]()
        for fed in self._feeds.of_outcome(split) if self._held(path) else ():
            outs += [out for apart in self._held(path) if (out := apart.output(path, fed)) is not None]
        return torch.cat(outs) if outs else None

    def probe(self) -> dict[Module, Alignment]:
        """As `NetsGroup.probe`, of the modules here."""
        batch, found = self._feeds.minibatch(0), dict[Module, Alignment]()
        for net, plan in self._plan.nets.items():
            lesson = next(each for each in self._lessons if each.learns == net and each.phase.name == plan.phases[-1])
            if not self._held(lesson.path):
                continue
            fed, taught = self._feeds.of_phase(lesson.i, 0, batch), self._held(lesson.taught)
            for apart in self._held(lesson.before):
                apart.pass_on(lesson, lesson.i, fed)
            for apart in taught:
                apart.probe_up(lesson, fed)
            with self._passing_through(lesson, lesson.i, fed):
                for apart in taught[-1:] if taught and taught[-1].at == lesson.taught[-1] else ():
                    found[apart.at] = apart.probe_down(lesson)  # type: ignore[assignment]
            for apart in reversed(taught):
                if apart.at not in found:
                    found[apart.at] = apart.probe_down(lesson)  # type: ignore[assignment]
        return {at: alignment for at, alignment in found.items() if alignment is not None}

    # seconds -----------------------------------------------------------------------------------------

    @contextmanager
    def _at(self, apart: ModuleApart, what: str, t: int) -> Iterator[None]:
        """The time in here is this module's, but for that of others whose turns come in its midst."""
        before = self._take(_Turn(apart, what, t))
        if apart.spans is not None:
            apart.spans.now = t
        try:
            yield
        finally:
            self._take(before)

    def _take(self, turn: _Turn) -> _Turn:
        now, waited, before = time.perf_counter(), self._mail.waited, self._turn
        since, waited_since = self._mark
        self._spent[before.apart] = self._spent.get(before.apart, 0.0) + now - since
        self._waited[before.apart] = self._waited.get(before.apart, 0.0) + waited - waited_since
        if before.apart is not None and before.apart.spans is not None:
            clock = time.time()
            before.apart.spans.add(before.what, before.t, clock - (now - since), clock)
        self._turn, self._mark = turn, (now, waited)
        return before

    def _waited_between(self, begin: float, end: float) -> None:
        apart = self._turn.apart
        if apart is not None and apart.spans is not None:
            apart.spans.add("waiting", self._turn.t, begin, end)

    def _stats(self, apart: ModuleApart, start: int, stop: int) -> SegmentStats:
        """Of all its phases."""
        stats = of_all_phases({name: module.end(start, stop) for name, module in apart.modules.items()})
        others = sum(self._spent.get(other, 0.0) for other in self.modules if other is not apart)
        spans = apart.spans.take() if apart.spans is not None else []
        return replace(stats, waited=self._waited.get(apart, 0.0), others=others, spans=spans)
