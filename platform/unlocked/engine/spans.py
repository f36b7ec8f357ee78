"""When each module computed, communicated and waited, for a number of steps: `tracking.timeline`.

A module that is watched has its phases and the ends of its links wrapped; one that is not has nothing added, so that it
costs nothing. Times are those of the machine's clock: workers on nodes whose clocks differ are shifted by as much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from unlocked.plan.plan import Plan

if TYPE_CHECKING:
    from unlocked.engine.module import Ends, ModuleRunner
    from unlocked.schemes import ModuleLearner

WARM = 20  # steps that are left out, if there are others: kernels are chosen, memory is taken
PHASES = {"forward": "forward_phase", "feedback": "feedback_phase"}
COMPUTING = ("forward", "feedback", "backward", "update", "M", "passing")  # the last for another net that learns


class Span(NamedTuple):
    """`what`: a phase, or what lies within it: "update" of the weights, "M" that learns, "communicating", "waiting";
    `t`: the minibatch; seconds of the clock."""

    what: str
    t: int
    begin: float
    end: float


class Spans:
    """Of one module, of steps `first` to `stop - 1`, each of `passes` that are counted through."""

    def __init__(self, first: int, stop: int, passes: int = 1):
        self.first, self.stop, self._passes = first, stop, passes
        self._found: list[Span] = []
        self.now = 0  # of the phase that runs

    @classmethod
    def of(cls, plan: Plan, passes: int = 1) -> Spans | None:
        """As the configuration asks; None if it does not."""
        steps = plan.config.tracking.timeline
        first = max(0, min(WARM, plan.total_steps - steps))
        return cls(first, first + steps, passes) if steps else None

    def watch(self, runner: ModuleRunner, ends: Ends) -> Ends:
        """Wraps the runner's phases; gives the ends to connect it with."""
        for what, name in PHASES.items():
            setattr(runner, name, self._timed(what, getattr(runner, name), runner.learner))
        self.watch_updates(runner.learner)

        def wrapped(link: Any) -> Any:
            return None if link is None else Watched(link, self)

        return replace(
            ends,
            h_in=wrapped(ends.h_in),
            h_out=wrapped(ends.h_out),
            feedback_in=wrapped(ends.feedback_in),
            feedback_out=[wrapped(link) for link in ends.feedback_out],
        )

    def watch_updates(self, learner: ModuleLearner) -> None:
        """Each is one of minibatch, or pass, `now`."""
        update = learner.update

        def updated() -> None:
            begin = time.time()
            update()
            self.add("update", self.now, begin, time.time())

        learner.update = updated  # type: ignore[method-assign]

    def add(self, what: str, t: int, begin: float, end: float) -> None:
        """`t`: the pass."""
        step = t // self._passes
        if self.first <= step < self.stop and end > begin:
            self._found.append(Span(what, step, begin, end))

    def at(self, step: int) -> list[Span]:
        return [span for span in self._found if span.t == step]

    def take(self) -> list[Span]:
        found, self._found = self._found, []
        return found

    def _timed(self, what: str, phase: Callable[[int], None], learner: ModuleLearner) -> Callable[[int], None]:
        def timed(t: int) -> None:
            self.now, before, begin = t, learner.sg_seconds, time.time()
            phase(t)
            end = time.time()
            self.add(what, t, begin, end)
            if what == "feedback":  # which ends with what M learns; in a forward phase M only speaks
                self.add("M", t, end - (learner.sg_seconds - before), end)

        return timed


def fill_gaps(watched: Sequence[Spans], t: int, begin: float, end: float) -> None:
    """All these modules of one worker waited if none of them computed, from `begin` to `end` of step t."""
    for span in sorted((span for spans in watched for span in spans.at(t)), key=lambda span: span.begin):
        for spans in watched:
            spans.add("waiting", t, begin, min(span.begin, end))
        begin = max(begin, span.end)
    for spans in watched:
        spans.add("waiting", t, begin, end)


class Watched:
    """An end of a link that says how long it waited and sent; anything else is the link's own."""

    def __init__(self, link: Any, spans: Spans):
        self._link, self._spans = link, spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def send(self, t: int, message: Any) -> None:
        self._measured(t, lambda: self._link.send(t, message))

    def receive(self, t: int) -> Any:
        return self._measured(t, lambda: self._link.receive(t))

    def _measured(self, t: int, call: Callable[[], Any]) -> Any:
        """Both parts are the link's own measure, which is what the metrics count; the wait is drawn first."""
        link, begin = self._link, time.time()
        waited, sent = link.waited, link.sent
        out = call()
        waited, sent = link.waited - waited, link.sent - sent
        self._spans.add("waiting", t, begin, begin + waited)
        self._spans.add("communicating", t, begin + waited, begin + waited + sent)
        return out


def chrome_trace(
    spans: Mapping[int, Sequence[Span]], workers: Sequence[int], names: Sequence[str], title: str
) -> dict[str, Any]:
    """For chrome://tracing and ui.perfetto.dev: a process for each worker, a thread for each module; microseconds.

    `spans`: by module; `workers`, `names`: of each module.
    """
    start = min((span.begin for each in spans.values() for span in each), default=0.0)
    events: list[dict[str, Any]] = []
    for module, each in spans.items():
        place = {"pid": workers[module], "tid": module}
        known = {"process_name": f"worker {workers[module]}", "thread_name": names[module]}
        events += [{"ph": "M", **place, "name": kind, "args": {"name": name}} for kind, name in known.items()]
        events += [
            {
                "ph": "X",
                **place,
                "name": span.what,
                "cat": "computing" if span.what in COMPUTING else "link",
                "ts": 1e6 * (span.begin - start),
                "dur": 1e6 * (span.end - span.begin),
                "args": {"minibatch": span.t},
            }
            for span in sorted(each, key=lambda span: (span.begin, -span.end))
        ]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"title": title}}
