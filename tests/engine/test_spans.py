"""When each module computed, communicated and waited: recorded on request, and no number moves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlocked.drawing.timeline import timeline
from unlocked.engine.group import InProcessGroup
from unlocked.engine.phases import NetsGroup
from unlocked.engine.pipelined import _Slice
from unlocked.engine.spans import Span, Spans, Watched, chrome_trace, fill_gaps
from unlocked.loop.timeline import keep_timeline

MLP = {"name": "mlp", "hidden": [8, 8]}
STEPS = 24  # 4 epochs of 6 minibatches


def trained(lab, steps: int, scheme: str = "dni"):
    data = lab.data()
    plan = lab.plan(data, model=MLP, scheme={"name": scheme}, parallel={"modules": 2}, tracking={"timeline": steps})
    group = InProcessGroup(plan, data)
    (stats,) = group.run([(0, STEPS)], STEPS)
    return group, stats


def test_without_a_timeline_nothing_is_wrapped(lab):
    group, stats = trained(lab, 0)
    for module in group.modules:
        assert not {"forward_phase", "feedback_phase"} & vars(module).keys()
        assert not any(isinstance(link, Watched) for link in module._links())
    assert [s.spans for s in stats] == [[], []]


@pytest.mark.parametrize("scheme", ["dni", "backprop"])
def test_watched_modules_train_to_the_same_numbers(lab, scheme):
    (_, plain), (_, watched) = trained(lab, 0, scheme), trained(lab, 3, scheme)
    assert [s.series for s in watched] == [s.series for s in plain]
    for module, s in enumerate(watched):
        spans = [span for span in s.spans if span.what == "forward"]
        assert len({span.t for span in spans}) == len(spans) == 3, module
        assert all(span.begin < span.end for span in s.spans)


def test_what_a_module_updates_and_its_M_learns_lies_within_its_phases(lab):
    _, stats = trained(lab, 3)
    for what, phase in (("update", "forward"), ("M", "feedback")):
        inner = [span for span in stats[0].spans if span.what == what]
        outer = {span.t: span for span in stats[0].spans if span.what == phase}
        assert len(inner) == 3
        assert all(outer[s.t].begin - 1e-4 <= s.begin < s.end <= outer[s.t].end + 1e-4 for s in inner)
    assert not [span for span in stats[1].spans if span.what == "M"]  # the last module has the loss


def test_of_several_nets_every_phase_is_recorded_at_its_step(lab):
    data = lab.data(n=30)
    tree = {
        "model": {"name": "gan", "latent": 4, "generator": [12], "discriminator": [9], "dropout": 0.0, "noise": 0.0},
        "task": "adversarial",
        "data": {"batch_size": 6},
        "parallel": {"modules": 2, "engine": "auto"},
    }
    plain, plan = (lab.plan(data, **tree, tracking={"timeline": steps}) for steps in (0, 2))
    numbers = [s.series for s in next(NetsGroup(plain, data).run([(0, plain.total_steps)], plain.total_steps))]
    group = NetsGroup(plan, data)
    stats = next(group.run([(0, plan.total_steps)], plan.total_steps))
    phases = {(net, k): len(known) for net, known in group.groups.items() for k in range(plan.nets[net].modules)}
    assert [s.series for s in stats] == numbers
    for s, count in zip(stats, phases.values(), strict=True):
        forward = [span.t for span in s.spans if span.what == "forward"]
        assert sorted(forward) == sorted([*range(plan.total_steps - 2, plan.total_steps)] * count)


def test_a_pipelines_slice_records_its_microbatches():
    slice_ = SimpleNamespace(busy=0.0, spans=Spans(0, 5), t=3)
    assert _Slice.timed(slice_, lambda x: time.sleep(0.002) or x, "forward")(7) == 7
    (span,) = slice_.spans.take()
    assert (span.what, span.t) == ("forward", 3)
    assert span.end - span.begin == pytest.approx(slice_.busy, abs=1e-5)


def test_modules_of_a_pipelines_worker_wait_while_none_of_them_computes():
    mine, other = Spans(0, 5), Spans(0, 5)
    mine.add("forward", 3, 10.0, 11.0)
    mine.add("backward", 2, 8.5, 9.0)  # of another minibatch
    other.add("forward", 3, 12.0, 13.0)
    other.add("backward", 3, 12.5, 12.75)  # within it
    fill_gaps([mine, other], 3, 9.0, 14.0)
    for spans in (mine, other):
        waits = [(span.begin, span.end) for span in spans.take() if span.what == "waiting"]
        assert waits == [(9.0, 10.0), (11.0, 12.0), (13.0, 14.0)]


def test_the_first_steps_are_left_out_if_there_are_others(lab):
    data = lab.data()
    asked = {"timeline": 4}
    short = lab.plan(data, model=MLP, parallel={"modules": 2}, tracking=asked)
    assert (Spans.of(short).first, Spans.of(short).stop) == (20, 24)  # of 4 epochs of 6 minibatches
    whole = lab.plan(data, model=MLP, parallel={"modules": 2}, tracking={"timeline": 100})
    assert Spans.of(whole).first == 0


def test_a_link_tells_its_own_measure_of_waiting_and_sending():
    spans = Spans(0, 5)

    class Link:
        waited, sent, other = 1.0, 2.0, "its own"

        def receive(self, t: int) -> str:
            self.waited, self.sent = self.waited + 0.5, self.sent + 0.25
            return "message"

    link = Watched(Link(), spans)
    assert (link.receive(3), link.other, link.waited) == ("message", "its own", 1.5)
    assert link.receive(5) == "message"  # beyond the steps that are recorded
    waiting, sending = spans.take()
    assert (waiting.what, waiting.t, waiting.end - waiting.begin) == ("waiting", 3, pytest.approx(0.5))
    assert (sending.what, sending.end - sending.begin) == ("communicating", pytest.approx(0.25))
    assert spans.take() == []


def test_the_trace_is_what_chrome_reads():
    spans = {
        0: [Span("waiting", 7, 10.001, 10.002), Span("forward", 7, 10.0, 10.004)],
        1: [Span("forward", 7, 10.004, 10.006)],
    }
    trace = json.loads(json.dumps(chrome_trace(spans, [0, 1], ["module 0", "module 1"], "a run")))
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(e["name"], e["pid"], e["tid"]) for e in events] == [
        ("forward", 0, 0),
        ("waiting", 0, 0),
        ("forward", 1, 1),
    ]
    assert [(round(e["ts"]), round(e["dur"])) for e in events] == [
        (0, 4000),
        (1000, 1000),
        (4000, 2000),
    ]  # microseconds
    names = {(e["name"], e["args"]["name"]) for e in trace["traceEvents"] if e["ph"] == "M"}
    assert {("process_name", "worker 1"), ("thread_name", "module 0")} <= names


def test_the_timeline_is_drawn_of_spans_alone(tmp_path: Path):
    assert timeline({}, [], [], tmp_path / "none.png") is None
    spans = {k: [Span("forward", t, t + 0.1 * k, t + 0.5) for t in range(30)] for k in (0, 1)}
    assert timeline(spans, [0, 1], ["module 0", "module 1"], tmp_path / "one.png").exists()


def test_a_run_whose_engine_records_none_says_so(lab, tmp_path: Path):
    said: list[str] = []
    plan = lab.plan(lab.data(), model=MLP, tracking={"timeline": 3})
    trainer = SimpleNamespace(
        plan=plan,
        config=plan.config,
        folder=SimpleNamespace(path=tmp_path),
        spans={},
        reporter=SimpleNamespace(note=said.append),
    )
    assert keep_timeline(trainer) == []
    assert said == ["tracking.timeline: this engine or resumed run recorded none"]
