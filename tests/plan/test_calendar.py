"""When things are due, and what the modules' reports of a segment say."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from unlocked.engine.segments import SegmentStats, alignments, first_nonfinite, module_times, series_means
from unlocked.launch.ray_group import _merge
from unlocked.plan.calendar import Calendar
from unlocked.schema.keys import Config, TrainConfig
from unlocked.schemes import CDNI, Alignment


def calendar(validates=True, lag=0, **train):
    config = Config(train=TrainConfig(epochs=7, **train))
    return Calendar(SimpleNamespace(config=config, steps_per_epoch=10, total_steps=70, lag=lag), validates)


def test_a_segment_ends_after_log_every_steps_and_with_its_epoch():
    assert [calendar(log_every=4).next_log(step) for step in (0, 3, 4, 8, 9, 10, 69)] == [4, 4, 8, 10, 10, 12, 70]


def test_the_loop_stops_behind_the_next_epoch_with_something_due_and_at_the_end():
    every = {"checkpoint_every": 6, "evaluate_every": 4, "probe_every": 5}
    assert [calendar(**every).next_sync(step) for step in (0, 39, 40, 50, 60)] == [40, 40, 50, 60, 70]
    assert calendar(validates=False, **every).next_sync(0) == 50
    assert calendar(validates=False, **{**every, "probe_every": 0}).next_sync(0) == 60


def test_what_is_due_behind_an_epoch_is_due_behind_the_last_too():
    due = calendar(checkpoint_every=6, evaluate_every=4, probe_every=5)
    assert [step for step in range(1, 71) if due.evaluates(step)] == [40, 70]
    assert [step for step in range(1, 71) if due.probes(step)] == [50, 70]
    assert [step for step in range(1, 71) if due.saves(step)] == [60, 70]
    assert not calendar(validates=False).evaluates(70)
    assert not calendar(probe_every=0).probes(70)


def test_evaluations_by_steps_come_between_epochs_too():
    due = calendar(evaluate_steps=15, checkpoint_every=3, probe_every=0)
    assert [due.next_sync(step) for step in (0, 15, 30, 45, 60)] == [15, 30, 45, 60, 70]
    assert [step for step in range(1, 71) if due.evaluates(step)] == [15, 30, 45, 60, 70]
    assert [due.epoch(step) for step in (10, 15, 30, 70)] == [1, None, 3, 7]


@pytest.mark.parametrize(("lag", "expected"), [(0, 8), (1, 10), (6, 16), (30, 30)])
def test_a_checkpoint_out_of_turn_waits_for_the_messages_that_are_under_way(lag, expected):
    assert calendar(log_every=4, lag=lag).next_checkpoint(8, stop=30) == expected


WORDS = CDNI.series_words


def report(**series):
    return SegmentStats(4, 6, 1.0, 0.25, 0.25, series=series)


def test_the_first_number_that_is_none_is_the_earliest_step_s_and_then_the_lowest_module_s():
    nan, inf = math.nan, math.inf
    assert first_nonfinite([report(**{"sg/loss": [0.0, 1.0]}), report(loss=[1.0, 2.0])], WORDS) is None
    assert first_nonfinite([report(**{"sg/loss": [0.0, inf]}), report(loss=[nan, nan])], WORDS) == (4, 1, "the loss")
    assert first_nonfinite([report(**{"sg/loss": [0.0, inf]}), report(loss=[1.0, nan])], WORDS) == (
        5,
        0,
        "the synthetic-gradient loss (sg/loss)",
    )


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("inputs/loss", r"the input model's loss (inputs/loss)"),
        ("local/loss", "a block's own loss (local/loss)"),
        ("sg/time_loss", "the loss of M through time (sg/time_loss)"),
        ("spread", "the series spread"),
        ("loss", "the loss"),
    ],
)
def test_a_number_that_is_none_is_reported_under_its_own_name(series, words):
    assert first_nonfinite([report(**{series: [1.0, math.nan]})], WORDS) == (5, 0, words)


def test_a_series_with_several_numbers_a_step_is_placed_in_its_segment():
    assert first_nonfinite([report(spread=[math.nan, *[1.0] * 7])], {}) == (4, 0, "the series spread")


def test_reports_of_modules_are_means_of_losses_and_milliseconds_of_a_step():
    stats = [
        report(loss=[7.0, 7.0], late=[], **{"sg/loss": [1.0, 2.0], "local/loss": [3.0, 5.0]}),
        report(loss=[0.5, 1.5], **{"inputs/loss": [2.0, 2.0], "sg/time_loss": [3.0], "my/spread": [0.0, 1.0]}),
    ]
    assert series_means(stats) == {
        "sg/loss/module_0": 1.5,
        "local/loss/module_0": 4.0,
        "loss/module_0": 7.0,
        "train/loss": 1.0,
        "inputs/loss/module_1": 2.0,
        "sg/time_loss/module_1": 3.0,
        "my/spread/module_1": 0.5,
    }
    times = module_times(stats[:1], waited=[3.0], seconds=4.0)
    assert times == {
        "time/wait_fraction/module_0": 0.75,
        "time/compute_ms/module_0": 250.0,
        "time/wait_ms/module_0": 125.0,
        "time/communicate_ms/module_0": 125.0,
    }


def test_a_probe_logs_both_cosines_and_the_ratio_of_norms():
    assert alignments({0: Alignment(0.5, 0.25, 2.0)}) == {
        "align/module_0": 0.5,
        "align/per_example/module_0": 0.25,
        "align/norm_ratio/module_0": 2.0,
    }


def test_series_of_replicas_are_averaged_whatever_each_recorded():
    merged = _merge([report(loss=[1.0, 2.0], some=[4.0]), report(loss=[3.0, 4.0], some=[1.0, 1.0], own=[5.0])])
    assert merged.series == {"loss": [2.0, 3.0], "some": [4.0, 1.0, 1.0], "own": [5.0]}
