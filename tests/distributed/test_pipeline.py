"""Pipelined backprop over Ray workers learns what one process does, microbatches or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
import torch.distributed as dist
from torch import nn

from unlocked.config import load_config
from unlocked.engine import loop, ray_group
from unlocked.engine.group import InProcessGroup
from unlocked.engine.pipelined import _Slice
from unlocked.engine.plan import load_data, make_plan
from unlocked_models import MODELS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STEPS = 12
BASE = ["scheme.name=backprop", "model.hidden=[24,20,16,12]", "model.norm=none", "model.dropout=0.0",
        "train.precision=fp64", "optimizer.name=adam", "data.batch_size=32", "parallel.partition=null",
        "parallel.threads=1", "parallel.timeout=60"]
NOISY = ["model.norm=batch", "model.dropout=0.3"]


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
@pytest.mark.parametrize(("stages", "microbatches"), [(2, 4), (2, 8), (4, 4), (4, 8)])
def test_a_pipeline_learns_what_one_process_learns(warm, one_process, schedule, stages, microbatches):
    found = trained(warm, f"parallel.stages={stages}", f"parallel.schedule={schedule}",
                    f"parallel.microbatches={microbatches}")
    assert len(found[0]) == STEPS
    assert_close(found, one_process)


def test_fewer_microbatches_than_stages_only_leave_workers_idle(warm, one_process):
    assert_close(trained(warm, "parallel.stages=4", "parallel.schedule=gpipe", "parallel.microbatches=2"), one_process)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_replicas_and_clipping_work_as_they_do_without_a_pipeline(warm, schedule):
    options = ["parallel.stages=2", "optimizer.name=sgd", "optimizer.lr=0.1", "optimizer.clip_norm=0.5",
               "optimizer.schedule=cosine", "optimizer.warmup=3"]
    expected = trained(InProcessGroup, *options, "parallel.launcher=inprocess")
    assert_close(trained(warm, *options, f"parallel.schedule={schedule}", "parallel.microbatches=4",
                         "parallel.replicas=2"), expected)


def test_modules_without_parameters_take_part(warm, monkeypatch):
    def registered(_=None):
        from torch import nn

        from unlocked_models import register_model

        @register_model("bare_ends")
        def bare_ends(in_shape, n_outputs):
            return [nn.Flatten(), nn.Linear(64, n_outputs), nn.Tanh()]

    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))
    registered()
    ray.get([worker.__ray_call__.remote(registered) for worker in warm.pool])
    model = ["model={name: bare_ends}", "parallel.stages=3"]
    base = [option for option in BASE if not option.startswith("model.")]
    expected = trained(InProcessGroup, *model, "parallel.launcher=inprocess", base=base)
    assert_close(trained(warm, *model, "parallel.schedule=1f1b", "parallel.microbatches=4", base=base), expected)


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
    waited = {"time/wait_fraction/module_0", "time/wait_fraction/module_1"}
    assert piped["metrics"].keys() - waited == locked["metrics"].keys() - waited
    assert piped["metrics"]["val/loss"] == pytest.approx(locked["metrics"]["val/loss"], abs=1e-9)
    found, expected = last_weights(Path(piped["run_dir"])), last_weights(Path(locked["run_dir"]))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)


def test_a_blocks_own_error_is_what_is_said():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        piece = _Slice(nn.BatchNorm1d(3), 0, 1, torch.device("cpu"))
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
            piece.forward_one_chunk(0, (torch.zeros(1, 3),))
    finally:
        dist.destroy_process_group()
