from __future__ import annotations

import pytest

from unlocked import load_config
from unlocked.metrics import heading, higher_is_better, is_known, is_share
from unlocked.studies.study import directions_of
from unlocked.tasks import TASKS, Task

LOWER = [
    "test/loss",
    "val/bits",
    "test/perplexity",
    "best/val_mse",
    "val/rmse",
    "test/mae",
    "train/loss",
    "sg/loss/module_0",
    "time/wait_fraction",
    "time/wait_ms/module_1",
    "test/my_loss",
]
HIGHER = [
    "test/accuracy",
    "best/val_accuracy",
    "test/r2",
    "test/bleu",
    "test/exact",
    "test/pairs",
    "time/steps_per_second",
    "align/module_0",
    "test/whatever",
]


@pytest.mark.parametrize("metric", LOWER + HIGHER)
def test_the_better_direction_of_every_metric_is_known_in_one_place(metric):
    assert higher_is_better(metric) == (metric in HIGHER)


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks_and_the_table_of_metrics_say_the_same(name):
    task = TASKS.get(name)
    assert is_known(task.monitor)
    assert higher_is_better(f"val/{task.monitor}") == task.higher_is_better


def test_a_task_of_ones_own_says_how_its_metric_is_better():
    assert higher_is_better("test/regret")

    class Bandit(Task):
        monitor = "regret"
        higher_is_better = False

    assert not higher_is_better("test/regret")
    assert not higher_is_better("best/val_regret")


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("val/loss", "minimize"),
        ("test/bits", "minimize"),
        ("val/mse", "minimize"),
        ("time/wait_fraction", "minimize"),
        ("val/accuracy", "maximize"),
        ("test/r2", "maximize"),
        ("time/steps_per_second", "maximize"),
    ],
)
def test_a_study_takes_its_direction_from_the_metric(metric, direction):
    assert directions_of(load_config("quickstart", [f"sweep.metric={metric}"])) == [direction]


def test_a_timing_with_its_place_is_that_timing():
    assert is_share("time/wait_fraction @ ray on a")
    assert not higher_is_better("time/wait_fraction @ ray on a")
    assert heading("time/steps_per_second @ in process") == "steps/s,\nin process"


def test_bleu_is_no_share():
    assert is_share("test/exact")
    assert not is_share("test/bleu")
