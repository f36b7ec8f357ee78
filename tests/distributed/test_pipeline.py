"""Pipelined backprop over Ray workers learns what one process does, microbatches or not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import ray
import torch
import torch.distributed as dist
from torch import nn

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.engine.pipelined import _Slice
from unlocked.launch import ray_group
from unlocked.loop import train as loop
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import evaluate_run
from unlocked.schema.keys import MULTI_STAGE
from unlocked_models import MODELS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STEPS = 12
BASE = [
    "scheme.name=backprop",
    "model.hidden=[24,20,16,12,12,12,12]",
    "model.norm=none",
    "model.dropout=0.0",
    "train.precision=fp64",
    "optimizer.name=adam",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.threads=1",
    "parallel.timeout=60",
]
NOISY = ["model.norm=batch", "model.dropout=0.3"]


def cut(schedule, workers, held=None):
    """Modules for as many workers, of the schedule's usual number each."""
    held = held or (2 if schedule in MULTI_STAGE else 1)
    return [
        f"parallel.modules={workers * held}",
        f"parallel.schedule={schedule}",
        f"parallel.modules_per_worker={held}",
    ]


def started(group_class, *overrides, base=BASE):
    config = load_config("quickstart", [*base, *overrides])
    data = load_data(config)
    return group_class(make_plan(config, data), data)


def losses_of(group, segments):
    return [loss for stats in group.run(segments, segments[-1][1]) for loss in stats[-1].series["loss"]]


def weights_of(states):
    return {name: weight for state in states for name, weight in state["weights"].items()}


def trained(group_class, *overrides, segments=((0, 5), (5, STEPS)), base=BASE):
    """Losses of all steps, the weights behind them, and what the network then says of the test split."""
    group = started(group_class, *overrides, base=base)
    try:
        return losses_of(group, segments), weights_of(group.states(STEPS)), group.outputs("test")
    finally:
        group.close()


@pytest.fixture(scope="module")
def one_process():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield trained(InProcessGroup, "parallel.modules=1", "parallel.engine=inprocess")
    torch.set_num_threads(before)


def assert_close(found, expected, tolerance=1e-10):
    """A sum over 32 examples is not taken in the order of sums over microbatches: the last bits differ."""
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(expected[0]), rtol=0, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, weight in expected[1].items():
        torch.testing.assert_close(found[1][name], weight, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)
    torch.testing.assert_close(found[2], expected[2], rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("schedule", "workers", "modules", "microbatches"),
    [
        ("gpipe", 2, 1, 4),
        ("gpipe", 4, 1, 4),
        ("gpipe", 4, 1, 8),
        ("1f1b", 2, 1, 4),
        ("1f1b", 2, 1, 8),
        ("1f1b", 4, 1, 4),
        *(
            (schedule, workers, modules, microbatches)
            for schedule in ("interleaved", "interleaved_zero_bubble")
            for workers, modules, microbatches in ((2, 2, 2), (2, 4, 8), (4, 2, 8))
        ),
        ("zero_bubble", 2, 2, 1),
        ("zero_bubble", 2, 2, 8),
        ("zero_bubble", 3, 2, 4),
        ("zero_bubble", 4, 2, 8),
    ],
)
def test_a_pipeline_learns_what_one_process_learns(warm, one_process, schedule, workers, modules, microbatches):
    found = trained(
        warm,
        *cut(schedule, workers, modules),
        f"parallel.microbatches={microbatches}",
    )
    assert len(found[0]) == STEPS
    assert_close(found, one_process)


def test_fewer_microbatches_than_stages_only_leave_workers_idle(warm, one_process):
    assert_close(trained(warm, "parallel.modules=4", "parallel.schedule=gpipe", "parallel.microbatches=2"), one_process)


@pytest.mark.parametrize(
    ("schedule", "clip"),
    [
        *((schedule, "clip_norm") for schedule in ("gpipe", "1f1b", "interleaved", "zero_bubble")),
        *((schedule, "clip_global") for schedule in ("locked", "1f1b", "zero_bubble")),
    ],
)
def test_replicas_and_clipping_work_as_they_do_without_a_pipeline(warm, schedule, clip):
    options = [
        "optimizer.name=sgd",
        "optimizer.lr=0.1",
        f"optimizer.{clip}=0.5",
        "optimizer.schedule=cosine",
        "optimizer.warmup=3",
    ]
    expected = trained(InProcessGroup, *options, "parallel.modules=2", "parallel.engine=inprocess")
    pieces = [] if schedule == "locked" else ["parallel.microbatches=4"]
    assert_close(trained(warm, *options, *cut(schedule, 2), *pieces, "parallel.replicas=2"), expected)


@pytest.fixture
def models(warm, monkeypatch):
    """Two models of four blocks that the driver and the workers know, by name."""

    def registered(_=None):
        import torch
        from torch import nn

        from unlocked_models import register_model

        class Shift(nn.Module):
            def __init__(self):
                super().__init__()
                self.once, self.again = nn.Parameter(torch.zeros(1, 16)), nn.Parameter(torch.zeros(1, 16))

            def forward(self, h):
                return h + self.once + self.again

        @register_model("bare_ends")
        def bare_ends(in_shape, n_outputs):
            return [nn.Flatten(), nn.Linear(64, n_outputs), nn.Identity(), nn.Tanh()]

        @register_model("shifts")
        def shifts(in_shape, n_outputs):
            return [
                nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh()),
                Shift(),
                Shift(),
                nn.Linear(16, n_outputs),
            ]

    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))
    registered()
    ray.get([worker.__ray_call__.remote(registered) for worker in warm.pool])


NO_MLP = [option for option in BASE if not option.startswith("model.")]


@pytest.mark.parametrize(("schedule", "workers"), [("1f1b", 4), ("interleaved", 2), ("zero_bubble", 2)])
def test_modules_without_parameters_take_part(warm, models, schedule, workers):
    model = "model={name: bare_ends}"
    expected = trained(InProcessGroup, model, "parallel.modules=1", "parallel.engine=inprocess", base=NO_MLP)
    assert_close(
        trained(
            warm,
            model,
            *cut(schedule, workers),
            "parallel.microbatches=4",
            base=NO_MLP,
        ),
        expected,
    )


@pytest.mark.parametrize("schedule", ["1f1b", "zero_bubble", "interleaved_zero_bubble"])
def test_microbatches_of_one_example_are_exact_with_weights_of_its_shape(warm, models, schedule):
    model = "model={name: shifts}"
    expected = trained(InProcessGroup, model, "parallel.modules=1", "parallel.engine=inprocess", base=NO_MLP)
    assert_close(
        trained(warm, model, *cut(schedule, 2), "parallel.microbatches=32", base=NO_MLP),
        expected,
    )


@pytest.mark.parametrize(
    "model",
    [
        "{name: cnn, channels: [4, 6], hidden: [12], norm: none}",
        "{name: resnet_small, depth: 20, width: 0.25, norm: layer}",
    ],
)
@pytest.mark.parametrize("schedule", ["zero_bubble", "interleaved_zero_bubble"])
def test_a_split_backward_pass_is_exact_for_convolutions_too(warm, model, schedule):
    model = f"model={model}"
    expected = trained(InProcessGroup, model, "parallel.modules=1", "parallel.engine=inprocess", base=NO_MLP)
    assert_close(
        trained(warm, model, *cut(schedule, 2), "parallel.microbatches=4", base=NO_MLP),
        expected,
    )


@pytest.mark.parametrize(
    "workers", [{"gpipe": 2, "1f1b": 2}, {"gpipe": 4, "interleaved": 2, "interleaved_zero_bubble": 2, "zero_bubble": 2}]
)
def test_schedules_of_one_cut_differ_in_order_only_even_with_batch_norm_and_dropout(warm, workers):
    gpipe, *others = (
        trained(warm, *NOISY, *cut(schedule, workers), "parallel.microbatches=4")
        for schedule, workers in workers.items()
    )
    for other in others:
        assert gpipe[0] == other[0]
        assert [name for name, weight in gpipe[1].items() if not torch.equal(weight, other[1][name])] == []


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zero_bubble"])
def test_a_pipeline_goes_on_from_its_states_to_the_same_numbers(warm, schedule):
    options = [*NOISY, *cut(schedule, 2), "parallel.microbatches=4"]
    losses, weights, _ = trained(warm, *options, segments=((0, STEPS),))
    first = started(warm, *options)
    try:
        before, states = losses_of(first, [(0, 7)]), first.states(7)
    finally:
        first.close()
    second = started(warm, *options)
    try:
        second.load_states(states)
        after, end = losses_of(second, [(7, STEPS)]), weights_of(second.states(STEPS))
    finally:
        second.close()
    assert before + after == losses
    assert [name for name, weight in weights.items() if not torch.equal(weight, end[name])] == []


def poisoned(runner):
    for parameter in runner.learner.chain.parameters():
        parameter.data[0] = math.nan if runner.learner.spec.index >= 2 else 0.0


@pytest.mark.parametrize("schedule", ["interleaved", "zero_bubble"])
def test_states_and_reports_are_those_of_the_modules_in_order(warm, schedule):
    group = started(
        warm,
        *cut(schedule, 2),
        "parallel.partition=[1,2,2,3]",
        "parallel.replicas=2",
    )
    try:
        (stats,) = group.run([(0, 2)], 2)
        states = group.states(2)
        assert group.nonfinite() is None
        group.ask(poisoned)
        broken = group.nonfinite()
    finally:
        group.close()
    blocks = [{int(name.partition(".")[0]) for name in state["weights"]} for state in states]
    assert blocks == [{0}, {0}, {1, 2}, {1, 2}, {3, 4}, {3, 4}, {5, 6, 7}, {5, 6, 7}]
    assert [list(s.series) for s in stats] == [[], [], [], ["loss"]]
    assert broken is not None
    assert broken[0] == 2


@pytest.mark.parametrize(("schedule", "modules"), [("gpipe", 2), ("zero_bubble", 4)])
def test_workers_report_time_that_they_did_not_compute(warm, schedule, modules):
    group = started(warm, *cut(schedule, 2))
    try:
        (stats,) = group.run([(0, STEPS)], STEPS)
    finally:
        group.close()
    assert len(stats) == modules
    assert all(0 < s.waited < s.seconds for s in stats)
    assert all(s.computed > 0 for s in stats)
    for worker in range(2):  # what its modules compute and what it waits is all of its time
        held = [s for module, s in enumerate(stats) if group.plan.placement[module] == worker]
        assert sum(s.computed for s in held) + held[0].waited == pytest.approx(held[0].seconds, rel=0.05)


@pytest.mark.parametrize(("schedule", "modules"), [("1f1b", 2), ("interleaved", 4), ("zero_bubble", 4)])
def test_a_whole_run_evaluates_probes_and_checkpoints(warm, small, monkeypatch, last_weights, schedule, modules):
    monkeypatch.setattr(ray_group, "RayGroup", warm)
    options = [
        "scheme.name=backprop",
        "train.precision=fp64",
        "model.norm=none",
        "model.dropout=0.0",
        "train.epochs=2",
        "train.log_every=20",
    ]
    piped = loop.train(small(*options, *cut(schedule, 2)))
    locked = loop.train(small(*options, f"parallel.modules={modules}", "parallel.engine=inprocess"))
    timed = {
        f"time/{what}/module_{k}"
        for k in range(modules)
        for what in ("wait_fraction", "wait_ms", "compute_ms", "communicate_ms")
    }
    assert piped["metrics"].keys() == locked["metrics"].keys() | timed
    assert piped["metrics"]["val/loss"] == pytest.approx(locked["metrics"]["val/loss"], abs=1e-9)
    found, expected = last_weights(Path(piped["run_dir"])), last_weights(Path(locked["run_dir"]))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)
    again = evaluate_run(Path(piped["run_dir"]))["metrics"]
    assert again["test/loss"] == pytest.approx(piped["metrics"]["test/loss"], abs=1e-12)


def test_a_blocks_own_error_is_what_is_said():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        piece = _Slice(nn.BatchNorm1d(3), 0, 1, torch.device("cpu"))
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            piece.forward_one_chunk(0, (torch.zeros(1, 3),))
    finally:
        dist.destroy_process_group()
