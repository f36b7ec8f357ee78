"""What is refused, or told, before the first trial of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlocked import sweep
from unlocked.errors import ConfigError
from unlocked.studies import Space
from unlocked.studies.check import check_study
from unlocked.studies.dimensions import Range


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sweep.sampler=tep", "sweep.trials=1"], "sweep.sampler: unknown sampler 'tep'; did you mean 'tpe'?"),
        (["sweep.sampler=GridSampler", "sweep.trials=1"], "sweep.sampler: GridSampler takes every point of the space"),
        (["sweep.sampler=BruteForceSampler", "sweep.trials=1"], "sweep.sampler: BruteForceSampler takes every point"),
        (["sweep.sampler={name: tpe, n_startup: 3}", "sweep.trials=1"], "sweep.sampler.n_startup: unknown option"),
        (["sweep.sampler={name: qmc, qmc_type: sobolt}", "sweep.trials=1"], "sweep.sampler: QMCSampler: The `qmc_type"),
        (["sweep.sampler=3", "sweep.trials=1"], "sweep.sampler: expected a name, or a name with"),
        ([], "sweep.trials: a search has no end of its own"),
        (["sweep.trials=0"], "sweep.trials: must be at least 1, got 0"),
        (["sweep.trials=1", "sweep.pruner=ashha"], "sweep.pruner: unknown pruner 'ashha'; did you mean 'asha'?"),
        (["sweep.trials=1", "sweep.pruner=asha", "sweep.metric=test/accuracy"], "pruning needs a val/ metric"),
        (
            ["sweep.trials=1", "sweep.pruner=asha", "sweep.metric=[val/accuracy, val/loss]"],
            "Optuna prunes by one metric",
        ),
        (["sweep.trials=1", "sweep.metric=[]"], "sweep.metric: expected a name or a list of distinct names, got []"),
        (["sweep.trials=1", "sweep.metric=[val/loss, val/loss]"], "expected a name or a list of distinct names"),
        (["sweep.trials=1", "sweep.direction=[minimize, maximize]"], "sweep.direction: ['minimize', 'maximize'] for 1"),
        (
            ["sweep.trials=1", "sweep.constraints={val/loss: {least: 3}}"],
            "sweep.constraints.val/loss: expected {min: 0.9}",
        ),
        (["sweep.trials=1", "sweep.repeats=2", "sweep.space.seed=[1]"], "sweep.repeats: the seed is in the space"),
        (
            ["sweep.trials=1", "sweep.enqueue=[{optimizer.lrr: 1}]"],
            "sweep.enqueue[0]: unknown dimension 'optimizer.lrr'",
        ),
        (["sweep.trials=1", "sweep.enqueue=[{optimizer.lr: 3.0}]"], "sweep.enqueue[0].optimizer.lr: 3.0 is not in the"),
        (
            ["sweep.trials=1", "sweep.space.scheme.name=[cdni, dfa]", "sweep.enqueue=[{optimizer.lrr: 1}]"],
            "sweep.enqueue[0]: unknown dimension",
        ),
        (["sweep.trials=1", "sweep.enqueue=[3]"], "sweep.enqueue[0]: expected dimensions and their values"),
        (
            ["sweep.trials=1", "sweep.enqueue=[{optimizer.lr: 0.1}, {optimizer.lr: 0.2}]"],
            "sweep.enqueue: 2 points are more than sweep.trials, 1",
        ),
        (["sweep.trials=1", "sweep.plot.x=optimizer.lr"], "sweep.plot: a search has the plots of its study"),
    ],
)
def test_a_wrong_search_is_one_line(search, hill, overrides, words):
    with pytest.raises(ConfigError) as caught:
        sweep(search(*overrides))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not hill
    assert not Path("runs").exists()


def test_a_grid_takes_no_number_of_trials(study, hill):
    with pytest.raises(ConfigError, match=r"sweep.trials: a grid holds every combination"):
        sweep(study("sweep.space.seed=[1,2]", "sweep.trials=1"))


def test_corners_that_cannot_run_are_told_and_fail_alone(search, hill):
    config = search("sweep.trials=6", "sweep.space.parallel.modules=[2, 9]", "parallel.partition=null")
    first, line = check_study(config, Space(config)).warnings
    assert first == "2 of 4 corners of the space cannot run; such trials will fail:"
    assert "parallel.modules: 9 is more than" in line
    with pytest.raises(ConfigError, match="4 of 4 trials cannot run"):
        check_study(bad := search("sweep.trials=6", "sweep.space.parallel.modules=[8, 9]"), Space(bad))


def test_a_grid_may_leave_out_what_cannot_run(study, hill):
    given = ("sweep.space.parallel.modules=[2, 9]", "sweep.space.seed=[0, 1]", "parallel.partition=null")
    with pytest.raises(ConfigError, match=r"(?s)2 of 4 trials cannot run.*sweep.refused=skip leaves them out"):
        check_study(stops := study(*given), Space(stops))
    config = study(*given, "sweep.refused=skip")
    checked = check_study(config, Space(config))
    assert [(point["parallel.modules"], point["seed"]) for point in checked.queued] == [(2, 0), (2, 1)]
    first, line = checked.warnings
    assert first == "2 of 4 trials cannot run and are left out:"
    assert "parallel.modules: 9 is more than" in line
    assert "(and 1 more)" in line


def test_corners_are_drawn_without_making_them_all(study, monkeypatch):
    monkeypatch.setattr(Range, "grid", lambda self: pytest.fail("505 numbers"))
    keys = ("data.batch_size", "train.epochs", "train.log_every")
    config = study("sweep.sampler=tpe", "sweep.trials=1", *(f"sweep.space.{key}={{low: 8, high: 512}}" for key in keys))
    assert check_study(config, Space(config)).warnings == []


def test_resources_that_this_machine_has_not_are_refused_for_one_trial_at_a_time_too(search, hill):
    with pytest.raises(ConfigError, match=r"sweep.resources: no node has 1 CPU and 64 GPU for a trial \(this machine"):
        sweep(search("sweep.trials=1", "sweep.resources.gpu=64"))
    assert not hill
