"""Pipelined backprop over Ray workers learns what one process does, microbatches or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine import loop, ray_group
from unlocked.engine.group import InProcessGroup
from unlocked.engine.plan import load_data, make_plan
from unlocked.engine.ray_group import WorkerFailed

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STEPS = 12
BASE = ["scheme.name=backprop", "model.hidden=[24,20,16,12]", "model.norm=none", "model.dropout=0.0",
        "train.precision=fp64", "optimizer.name=adam", "data.batch_size=32", "parallel.partition=null",
        "parallel.threads=1", "parallel.timeout=60"]
NOISY = ["model.norm=batch", "model.dropout=0.3"]


def started(group_class, *overrides):
    config = load_config("quickstart", [*BASE, *overrides])
    data = load_data(config)
    return group_class(make_plan(config, data), data)


def losses_of(group, segments):
    return [loss for stats in group.run(segments, segments[-1][1]) for loss in stats[-1].series["loss"]]


def weights_of(states):
    return {name: weight for state in states for name, weight in state["weights"].items()}


def trained(group_class, *overrides, segments=((0, 5), (5, STEPS))):
    """Losses of all steps, the weights behind them, and what the network then says of the test split."""
    group = started(group_class, *overrides)
    try:
        return losses_of(group, segments), weights_of(group.states(STEPS)), group.outputs("test")
    finally:
        group.close()


@pytest.fixture(scope="module")
def one_process():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield trained(InProcessGroup, "parallel.stages=1", "parallel.launcher=inprocess")
    torch.set_num_threads(before)


def assert_close(found, expected, tolerance=1e-10):
    """A sum over 32 examples is not taken in the order of sums over microbatches: the last bits differ."""
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(expected[0]), rtol=0, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, weight in expected[1].items():
        torch.testing.assert_close(found[1][name], weight, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)
    torch.testing.assert_close(found[2], expected[2], rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("stages", "microbatches"), [(2, 4), (2, 8), (4, 4), (4, 8), (2, "null"), (4, "null")])
def test_a_pipeline_learns_what_one_process_learns(warm, one_process, schedule, stages, microbatches):
    found = trained(warm, f"parallel.stages={stages}", f"parallel.schedule={schedule}",
                    f"parallel.microbatches={microbatches}")
    assert len(found[0]) == STEPS
    assert_close(found, one_process)


def test_fewer_microbatches_than_stages_only_leave_workers_idle(warm, one_process):
    assert_close(trained(warm, "parallel.stages=4", "parallel.schedule=gpipe", "parallel.microbatches=2"), one_process)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_replicas_and_clipping_work_as_they_do_without_a_pipeline(warm, schedule):
    options = ["parallel.stages=2", "optimizer.clip_norm=0.5", "optimizer.schedule=cosine", "optimizer.warmup=3"]
    expected = trained(InProcessGroup, *options, "parallel.launcher=inprocess")
    assert_close(trained(warm, *options, f"parallel.schedule={schedule}", "parallel.microbatches=4",
                         "parallel.replicas=2"), expected)


def test_a_first_module_without_parameters_takes_part(warm, one_process):
    overrides = ["parallel.stages=2", "parallel.schedule=1f1b"]
    plan = make_plan(config := load_config("quickstart", [*BASE, *overrides]), load_data(config))
    assert plan.parameters[0] == 0
    cut = f"parallel.partition=[1,{len(plan.parameters) - 1}]"
    assert_close(trained(warm, *overrides, cut), one_process)


def test_the_schedules_differ_in_order_only_even_with_batch_norm_and_dropout(warm):
    gpipe, one_f_one_b = (trained(warm, *NOISY, "parallel.stages=2", f"parallel.schedule={schedule}",
                                  "parallel.microbatches=4") for schedule in ("gpipe", "1f1b"))
    assert gpipe[0] == one_f_one_b[0]
    assert [name for name, weight in gpipe[1].items() if not torch.equal(weight, one_f_one_b[1][name])] == []


def test_a_pipeline_goes_on_from_its_states_to_the_same_numbers(warm):
    options = [*NOISY, "parallel.stages=2", "parallel.schedule=1f1b", "parallel.microbatches=4"]
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


def test_workers_report_time_that_they_did_not_compute(warm):
    group = started(warm, "parallel.stages=2", "parallel.schedule=gpipe")
    try:
        (stats,) = group.run([(0, STEPS)], STEPS)
    finally:
        group.close()
    assert all(0 < s.waited < s.seconds for s in stats)


def test_a_whole_run_evaluates_probes_and_checkpoints(warm, small, monkeypatch, last_weights):
    monkeypatch.setattr(ray_group, "RayGroup", warm)
    options = ["scheme.name=backprop", "train.precision=fp64", "model.norm=none", "model.dropout=0.0",
               "train.epochs=2", "train.log_every=20", "parallel.stages=2"]
    piped = loop.train(small(*options, "parallel.schedule=1f1b"))
    locked = loop.train(small(*options, "parallel.launcher=inprocess"))
    assert piped["metrics"].keys() == locked["metrics"].keys()
    assert piped["metrics"]["val/loss"] == pytest.approx(locked["metrics"]["val/loss"], abs=1e-9)
    found, expected = last_weights(Path(piped["run_dir"])), last_weights(Path(locked["run_dir"]))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)


def test_a_blocks_own_error_is_what_is_said(warm):
    options = ["model.norm=batch", "parallel.stages=2", "parallel.schedule=gpipe", "parallel.microbatches=32"]
    group = started(warm, *options)
    with pytest.raises(WorkerFailed, match="Expected more than 1 value per channel when training"):
        list(group.run([(0, 1)], 1))
