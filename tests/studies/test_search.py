"""Searches: who chooses their trials, how many, and who ends them early."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from optuna.pruners import MedianPruner

from unlocked import sweep
from unlocked.errors import ConfigError, RunInterrupted
from unlocked.studies import trial as trial_module
from unlocked.studies.search import SAMPLERS, make_pruner, make_sampler


@pytest.mark.parametrize("sampler", [*SAMPLERS, "NSGAIISampler", "{name: tpe, n_startup_trials: 2}"])
def test_every_sampler_searches(search, hill, sampler, width):
    summary = sweep(search(f"sweep.sampler={sampler}", "sweep.trials=8", width))
    assert (summary["trials"], summary["complete"], len(hill)) == (8, 8, 8)
    assert len({config.optimizer.lr for config in hill}) > 5
    best = max(hill, key=lambda config: -abs(math.log10(config.optimizer.lr) + 2))
    assert summary["best"]["params"]["optimizer.lr"] == best.optimizer.lr


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "qmc"])
def test_the_same_seed_repeats_a_search_even_if_it_is_interrupted(search, hill, monkeypatch, sampler):
    words = [f"sweep.sampler={sampler}", "sweep.trials=14"]
    sweep(search(*words, "name=unbroken"))
    unbroken = [config.optimizer.lr for config in hill]
    hill.clear()
    pretend = trial_module.train

    def interrupted(config, **options):
        if len(hill) in (3, 12):
            hill.append(None)
            raise RunInterrupted("Ctrl-C")
        return pretend(config, **options)

    with monkeypatch.context() as impatient:
        impatient.setattr(trial_module, "train", interrupted)
        for _ in range(2):
            with pytest.raises(RunInterrupted, match="of 14 trials are done"):
                sweep(search(*words))
        assert sweep(search(*words))["trials"] == 14
    assert [config.optimizer.lr for config in hill if config is not None] == unbroken
    hill.clear()
    sweep(search(*words, "name=other", "seed=1"))
    assert [config.optimizer.lr for config in hill] != unbroken


def test_more_trials_may_be_asked_for_later(search, hill, heard):
    sweep(search("sweep.trials=2"))
    queued = sweep(search("sweep.trials=2", "sweep.enqueue=[{optimizer.lr: 0.5}]"), watcher=heard)
    assert (queued["trials"], len(hill)) == (2, 2)
    assert heard.notes == ["1 queued trials wait for a larger sweep.trials"]
    summary = sweep(search("sweep.trials=5", "sweep.concurrent=1"))
    assert (summary["trials"], len(hill)) == (5, 5)
    assert hill[2].optimizer.lr == 0.5
    assert sweep(search("sweep.trials=3"))["trials"] == 5
    with pytest.raises(ConfigError, match=r"sweep.sampler=random, not tpe"):
        sweep(search("sweep.trials=6", "sweep.sampler=tpe"))


def test_a_search_ends_when_its_time_is_up(search, hill):
    summary = sweep(search("sweep.hours=1e-4"))  # a third of a second
    assert 0 < summary["trials"] < 200


def test_enqueued_points_come_first_and_the_rest_of_them_is_sampled(search, hill, width):
    summary = sweep(
        search("sweep.trials=3", width, "sweep.enqueue=[{optimizer.lr: 0.01}, {optimizer.lr: 0.5, width: wide}]")
    )
    assert [config.optimizer.lr for config in hill][:2] == [0.01, 0.5]
    assert hill[1].model["hidden"] == [32, 32, 32, 32]
    assert summary["best"]["trial"] == 0
    assert yaml.safe_load(Path(summary["best_config"]).read_text()) == {"lr": 0.01}
    assert Path(summary["best_config"]).read_text().startswith("# trial 0: optimizer.lr=0.01 width=")


def test_what_is_not_worth_it_ends_early_and_counts(search, hill, trials_of):
    words = ["sweep.trials=20", "train.epochs=9", "sweep.pruner={name: asha, reduction_factor: 3}"]
    summary = sweep(search(*words))
    assert summary["complete"] + summary["pruned"] == 20
    assert summary["pruned"] >= 8
    assert summary["rows"][0].group["trial"] == str(summary["best"]["trial"])
    epochs = [int(row["state"].rpartition(" ")[2]) for row in trials_of(summary) if row["state"] != "complete"]
    assert set(epochs) <= {1, 3}  # rungs at 1, 3 and 9
    assert sweep(search(*words))["trials"] == 20
    assert len(hill) == 20


@pytest.mark.parametrize("pruner", ["median", "hyperband", "percentile", "patient", "ThresholdPruner"])
def test_every_pruner_is_asked(search, hill, pruner):
    option = "{name: ThresholdPruner, lower: 0.09}" if pruner == "ThresholdPruner" else pruner
    summary = sweep(search("sweep.trials=25", "train.epochs=9", f"sweep.pruner={option}"))
    assert summary["complete"] + summary["pruned"] == 25
    assert summary["pruned"] >= (0 if pruner == "patient" else 1)  # patient: every epoch is better than the last here


def test_a_trial_is_the_mean_over_its_seeds(search, hill, monkeypatch, trials_of):
    summary = sweep(search("sweep.trials=2", "sweep.repeats=3", "seed=5"))
    assert [config.seed for config in hill] == [5, 6, 7, 5, 6, 7]
    assert {config.optimizer.lr for config in hill[:3]} == {hill[0].optimizer.lr}
    assert [len(row.seeds) for row in summary["rows"]] == [3, 3]
    assert len(trials_of(summary)[0]["runs"].split()) == 3
    assert yaml.safe_load(Path(summary["best_config"]).read_text())["lr"] == summary["best"]["params"]["optimizer.lr"]


def test_points_that_the_budget_does_not_reach_are_left_in_the_queue(search, hill, monkeypatch):
    def interrupted(*_, **__):
        raise RunInterrupted("Ctrl-C")

    points = "sweep.enqueue=[{optimizer.lr: 0.1}, {optimizer.lr: 0.2}, {optimizer.lr: 0.3}]"
    with monkeypatch.context() as impatient:
        impatient.setattr(trial_module, "train", interrupted)
        with pytest.raises(RunInterrupted):
            sweep(search("sweep.trials=3", points))
    summary = sweep(search("sweep.trials=2"))
    assert (summary["trials"], [config.optimizer.lr for config in hill]) == (2, [0.1, 0.2])


def test_samplers_are_made_with_what_their_names_promise(search):
    config = search("sweep.trials=1", "sweep.sampler=tpe")
    assert make_sampler(config, 0)._multivariate
    assert not make_sampler(config, 0)._constant_liar
    assert make_sampler(search("sweep.trials=1", "sweep.sampler=tpe", "sweep.concurrent=2"), 0)._constant_liar
    hyperband = make_pruner(search("sweep.trials=1", "train.epochs=27", "sweep.pruner=hyperband"))
    assert hyperband._max_resource == 27
    alone = make_sampler(search("sweep.trials=1", "sweep.sampler={name: tpe, multivariate: false}"), 0)
    assert (alone._multivariate, alone._group) == (False, False)


def test_a_pruner_within_another_is_made_like_any(search):
    def made(pruner):
        return make_pruner(search("sweep.trials=1", "train.epochs=27", f"sweep.pruner={pruner}"))

    assert made("{name: patient, wrapped_pruner: hyperband}")._wrapped_pruner._max_resource == 27
    assert isinstance(made("patient")._wrapped_pruner, MedianPruner)
    assert made("{name: patient, wrapped_pruner: null}")._wrapped_pruner is None
