"""Several nets in one process: the phases of every step, each a pass of the engine over the modules of one net.

A net has one group of modules for every phase that it learns in. The groups share its weights and its optimiser; what a
scheme learns beside them, such as M, is each group's own. Between nets the gradient is exact: a group's objective is
the phase's loss *through* the nets after it. Nets that a phase passes and that do not learn in it stay as they are.

Within a step phase i of P is the pass t * P + i: dropout, latents and noise draw from (seed, net or phase, pass) alone.

Lag is that of a phase: with lag D a module that learns in phase i of step t consumes what came back about phase i of
step t - D. The last module of a net has the exact gradient of this very pass, whatever the lag: a net that the gradient
goes through is there as it now is, not as it was D steps ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.data import DataSet, TrainBatches
from unlocked.data.transform import part
from unlocked.engine.group import Group, InProcessGroup, Segment, evaluation_rows
from unlocked.engine.links import Incoming, Late
from unlocked.engine.module import Ends, ModuleRunner
from unlocked.engine.replay import Replayed
from unlocked.engine.segments import OF_PHASE, SegmentStats
from unlocked.engine.spans import Spans
from unlocked.plan.blocks import build_beside, build_learner, device_of
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES, Alignment, ModuleLearner
from unlocked.schemes.objective import Loss, Objective, Through, left_alone
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks.phases import Function, Phase
from unlocked_models.contract.batch import Batch, moved, rows_of


@dataclass(frozen=True)
class Place:
    """Of a phase in a step of `of` phases; passes count all of them."""

    nth: int
    of: int

    def pass_at(self, step: int) -> int:
        return step * self.of + self.nth


class LateInPhase(Late):
    """Messages of one phase of every step, which are named by their passes; `lag` in steps."""

    def __init__(self, link: Incoming, lag: int, place: Place):
        super().__init__(link, lag)
        self._place = place

    def expect(self, start: int, stop: int) -> None: ...  # no link of several nets receives ahead

    def drain(self, t: int) -> list[Tensor]:
        first = max(0, t - self.lag) + len(self.pending)
        self.pending.extend(self.link.receive(self._place.pass_at(step)).clone() for step in range(first, t))
        return list(self.pending)


class FedModule(ModuleRunner):
    """A module of one of several nets, which is given its minibatches by a phase. Its lag is counted in passes."""

    fed: tuple[Tensor, Batch]
    replayed: Replayed | None = None
    _of_net: Callable[[Function, Tensor, Batch], Tensor] | None = None

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        module: int,
        device: torch.device,
        place: Place,
        beside: FedModule | None,
        shard: tuple[int, int] = (0, 1),
        blocks: Sequence[nn.Module] | None = None,
    ):
        self._place, self._beside, self._steps_late = place, beside, plan.lag
        super().__init__(replace(plan, lag=plan.lag * place.of), data, module, device, shard, blocks)
        self.spans = Spans.of(plan, passes=place.of)

    def _make_learner(
        self, plan: Plan, module: int, device: torch.device, blocks: Sequence[nn.Module] | None
    ) -> ModuleLearner:
        if self._beside is not None:
            return build_beside(plan, self._beside.learner)
        return build_learner(plan, module, device, blocks)

    def _read(self, data: DataSet, begin: int = 0) -> None: ...

    def _x(self, t: int) -> Tensor:
        return self.fed[0]

    def _batch(self, t: int, x: Tensor | None) -> Batch:
        return self.fed[1]

    def _set_lr(self, t: int) -> None:
        super()._set_lr(t // self._place.of)

    def connect(self, ends: Ends) -> None:
        super().connect(ends)
        if ends.feedback_in is not None:
            self._feedback = LateInPhase(ends.feedback_in, self._steps_late, self._place)

    def learns_in(self, phase: Phase) -> None:
        """Once, when it is made."""
        self.learner.waits, self._of_net = phase.waits, phase.of_net
        self.replayed = Replayed(phase.replay, self.plan.config.seed, phase.name) if phase.replay else None

    def feed(self, u: int, h: Tensor, batch: Batch) -> None:
        """What it learns from in pass u; h is looked at by the first module alone."""
        self.fed = (h, batch) if self.replayed is None else self.replayed.mix(u, h, batch, self._is_first)

    def forward_phase(self, t: int) -> None:
        if self._of_net is None:
            super().forward_phase(t)
            return
        self._t = self.learner.at = t
        if self._lr_factor is not None:
            self._set_lr(t)
        self.learner.learn_as_function(t, *self.fed, self._of_net)

    def update(self) -> None:
        """By the gradients that wait."""
        self.learner.waits = False
        self.learner.update()
        self.learner.waits = True

    def probe_forward(self, h: Tensor | None = None) -> Tensor:
        return self.learner.probe_forward(self.fed[0] if h is None else h, self.fed[1])

    def state(self, t: int) -> dict[str, Any]:
        kept = {} if self.replayed is None else {"replayed": self.replayed.state()}
        return super().state(t) | kept

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        if self.replayed is not None:
            self.replayed.load_state(state["replayed"])

    def weights(self) -> dict[str, Tensor]:
        return {f"{self.plan.net}.{key}": value for key, value in super().weights().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        own = f"{self.plan.net}."
        super().load_weights({key.removeprefix(own): x for key, x in weights.items() if key.startswith(own)})


class NetInPhase(InProcessGroup):
    """The modules of a net, as they learn in one phase; `beside` the group of an earlier phase."""

    modules: Sequence[FedModule]

    def __init__(self, plan: Plan, data: DataSet, place: Place, beside: NetInPhase | None = None):
        self._place, self._beside = place, beside
        super().__init__(plan, data)

    def _make_modules(self, plan: Plan, data: DataSet, device: torch.device) -> Sequence[ModuleRunner]:
        def beside(k: int) -> FedModule | None:
            return None if self._beside is None else self._beside.modules[k]

        return [FedModule(plan, data, k, device, self._place, beside(k)) for k in range(plan.modules)]

    def update(self) -> None:
        for module in self.modules:
            module.update()

    def feed(self, u: int, h: Tensor, batch: Batch) -> None:
        for module in self.modules:
            module.feed(u, h, batch)

    def probe_on(self, h: Tensor, batch: Batch) -> dict[int, Alignment]:
        for module in self.modules:
            module.fed = (h, batch)
        return self.probe()


class Passed:
    """A net that others' outputs pass: `schemes.objective.Net`. `at` is the pass whose draws it makes."""

    at = 0

    def __init__(self, group: NetInPhase):
        self._learners = [module.learner for module in group.modules]

    def __call__(self, h: Tensor, batch: Batch) -> Tensor:
        for learner in self._learners:
            h = learner.passed(self.at, h, batch)
        return h

    def modules(self) -> Iterable[nn.Module]:
        return (layer for learner in self._learners for layer in learner.chain.modules())

    def outputs(self, h: Tensor, batch: Batch) -> Tensor:
        """In evaluation mode."""
        for learner in self._learners:
            learner.chain.eval()
            with learner.evaluated(), torch.inference_mode():
                h = learner.chain(h, batch)
            learner.chain.train()
        return h


class Feeds:
    """The minibatches of a run, and what each phase is fed of them: a function of the seed and the step alone."""

    def __init__(self, plan: Plan, data: DataSet, device: torch.device, shard: tuple[int, int] = (0, 1)):
        config, task = plan.config, plan.make_task()
        self._data, self._device, self._seed, self._shard = data, device, config.seed, shard
        self._dtype = DTYPES[config.train.precision]
        shapes = {net: its.specs[0].in_shape for net, its in plan.nets.items()}
        self.phases, self.outcome = task.phases(shapes), task.outcome(shapes)
        self.batches = TrainBatches(
            data.train.to(device),
            config.data.batch_size,
            derive_seed(config.seed, "order"),
            data.transforms,
            name=data.name,
            steps=plan.total_steps,
            easy_first=config.data.easy_first,
        )
        self._seeds = [derive_seed(config.seed, "feed", phase.name) for phase in self.phases]
        self._plan = plan

    def minibatch(self, t: int) -> Batch:
        extras = moved(self.batches.extras(t), dtype=self._dtype)
        x, y = self._real(self.batches.x(t)), self._real(self.batches.y(t))
        return Batch(x, y, progress=self.batches.progress(t), extras=extras)

    def of_phase(self, i: int, t: int, batch: Batch) -> Batch:
        """What phase i is fed at step t: of what is drawn for all replicas, the part of this one."""
        generator = torch.Generator().manual_seed(step_seed(self._seeds[i], t))
        return part(self.phases[i].feed(batch, generator), self._shard)

    def of_outcome(self, split: str) -> Iterator[Batch]:
        """What the task's `outcome` is fed of a split, in its order."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "outcome", split))
        source = self._data.train_shown if split == "train" else getattr(self._data, split)
        for rows, _ in evaluation_rows(self._plan, self._data, split):
            x, y = (self._real(values[rows].to(self._device)) for values in (source.x, source.y))
            batch = Batch(x, y, extras=moved(rows_of(source.extras, rows), self._device, self._dtype))
            yield self.outcome.feed(batch, generator)

    def _real(self, values: Tensor) -> Tensor:
        return values.to(self._dtype) if values.is_floating_point() else values


def of_all_phases(by_phase: Mapping[str, SegmentStats]) -> SegmentStats:
    """One report of a module, of all phases that it learns in."""
    series = {
        f"{name}{OF_PHASE}{phase}": values for phase, stats in by_phase.items() for name, values in stats.series.items()
    }
    sg, sent, waited = (sum(getattr(stats, what) for stats in by_phase.values()) for what in ("sg", "sent", "waited"))
    spans = sorted((span for stats in by_phase.values() for span in stats.spans), key=lambda span: span.begin)
    return replace(next(iter(by_phase.values())), sg=sg, sent=sent, waited=waited, series=series, spans=spans)


@dataclass
class Lesson:
    """What one net learns in one phase, from a batch that passes the nets `before` it."""

    group: NetInPhase
    before: list[Passed]
    after: list[Passed]

    def prepare(self, u: int, batch: Batch) -> None:
        """Feeds the group what it sees in pass u."""
        self.group.feed(u, self.reached(u, batch), batch)

    def reached(self, u: int, batch: Batch) -> Tensor:
        """The output of the nets before the group's."""
        for net in (*self.before, *self.after):
            net.at = u
        assert batch.x is not None
        h = batch.x
        with torch.no_grad():
            for net in self.before:
                with left_alone(net):
                    h = net(h, batch)
        return h


class NetsGroup(Group):
    """All nets of a run in this process."""

    def __init__(self, plan: Plan, data: DataSet, imports: Sequence[str] = (), again: bool = False):
        self.plan, self.feeds = plan, Feeds(plan, data, device_of(plan))
        self.phases = self.feeds.phases
        self.groups: dict[str, dict[str, NetInPhase]] = {net: {} for net in plan.nets}  # net, phase
        for i, phase in enumerate(self.phases):
            for net in phase.learns:
                beside = next(iter(self.groups[net].values()), None)
                group = NetInPhase(plan.nets[net], data, Place(i, len(self.phases)), beside)
                self.groups[net][phase.name] = group
                for module in group.modules:
                    module.learns_in(phase)
        self.nets = {net: Passed(next(iter(groups.values()))) for net, groups in self.groups.items()}
        self._lessons = [[self._lesson(phase, net) for net in phase.learns] for phase in self.phases]

    def _lesson(self, phase: Phase, net: str) -> Lesson:
        place, group = phase.path.index(net), self.groups[net][phase.name]
        before, after = ([self.nets[other] for other in path] for path in (phase.path[:place], phase.path[place + 1 :]))
        objective: Objective = Loss(phase.loss)
        for other in reversed(after):
            objective = Through(other, objective)
        group.modules[-1].learner.objective = objective
        return Lesson(group, before, after)

    # training ----------------------------------------------------------------------------------------

    def run(self, segments: Iterable[Segment], checkpoint_at: int) -> Iterator[list[SegmentStats]]:
        groups, phases = self._all(), len(self.phases)
        for start, stop in segments:
            for group in groups:
                for module in group.modules:
                    module.begin(start * phases, stop * phases, checkpoint_at * phases)
            for t in range(start, stop):
                batch = self.feeds.minibatch(t)
                for i in range(phases):
                    if not self.phases[i].runs_at(t):
                        continue
                    fed = self.feeds.of_phase(i, t, batch)
                    for lesson in self._lessons[i]:
                        lesson.prepare(t * phases + i, fed)
                        lesson.group.tick(t * phases + i)
                    if self.phases[i].updates_together:
                        for lesson in self._lessons[i]:  # each learned through the others as they were
                            lesson.group.update()
            yield [stats for net in self.groups for stats in self._stats(net, start, stop)]

    def _stats(self, net: str, start: int, stop: int) -> list[SegmentStats]:
        by_phase = {
            phase: [module.end(start, stop) for module in group.modules] for phase, group in self.groups[net].items()
        }
        modules = range(self.plan.nets[net].modules)
        return [of_all_phases({phase: stats[k] for phase, stats in by_phase.items()}) for k in modules]

    def _all(self) -> list[NetInPhase]:
        return [group for groups in self.groups.values() for group in groups.values()]

    def estimate_statistics(self, t: int) -> None: ...  # no net runs on synthetic inputs

    # evaluation and probe ----------------------------------------------------------------------------

    def outputs(self, split: str) -> Tensor:
        """Of the task's `outcome`, an entry for each example of the split; drawn from the seed and the split alone."""
        outs = []
        for fed in self.feeds.of_outcome(split):
            assert fed.x is not None
            h = fed.x
            for net in self.feeds.outcome.path:
                h = self.nets[net].outputs(h, fed)
            outs.append(h.cpu())
        return torch.cat(outs)

    def probe(self) -> dict[int, Alignment]:
        """Of every net in the last phase that it learns in, on the first minibatch of the run."""
        found: dict[int, Alignment] = {}
        offset, batch = 0, self.feeds.minibatch(0)
        for net, groups in self.groups.items():
            name, group = list(groups.items())[-1]
            i = next(i for i, phase in enumerate(self.phases) if phase.name == name)
            lesson = next(lesson for lesson in self._lessons[i] if lesson.group is group)
            fed = self.feeds.of_phase(i, 0, batch)
            probed = group.probe_on(lesson.reached(i, fed), fed)
            found |= {offset + k: alignment for k, alignment in probed.items()}
            offset += self.plan.nets[net].modules
        return found

    # state -------------------------------------------------------------------------------------------

    def states(self, t: int) -> list[dict[str, Any]]:
        return [state for group in self._all() for state in group.states(t)]

    def load_states(self, states: list[dict[str, Any]]) -> None:
        rest = iter(states)
        for group in self._all():
            group.load_states([next(rest) for _ in group.modules])

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for groups in self.groups.values():
            next(iter(groups.values())).load_weights(weights)

    def set_level(self, data: DataSet, level: int, begin: int) -> None:
        raise AssertionError("a curriculum is of one net")

    def nonfinite(self) -> tuple[int, str] | None:
        offset = 0
        for net, groups in self.groups.items():
            for group in groups.values():
                found = group.nonfinite()
                if found is not None:
                    return offset + found[0], found[1]
            offset += self.plan.nets[net].modules
        return None

    def close(self) -> None: ...
