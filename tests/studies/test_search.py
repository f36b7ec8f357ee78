"""Searches: who chooses their trials, who ends them early, and what a study remembers of them."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from itertools import count
from pathlib import Path

import pytest
import yaml
from optuna.pruners import MedianPruner
from rich.console import Console

from unlocked import load_config, sweep, train
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.studies import Space, report
from unlocked.studies import trial as trial_module
from unlocked.studies.check import check_study
from unlocked.studies.driver import Unwatched
from unlocked.studies.plots import draw_search
from unlocked.studies.search import SAMPLERS, make_pruner, make_sampler
from unlocked.studies.space import Range
from unlocked.studies.status import status
from unlocked.studies.study import Study
from unlocked.tracking import render

LR = "sweep.space.optimizer.lr={low: 1e-4, high: 1.0, log: true}"
WIDTH = ("sweep.space.width={choice: {narrow: {model.hidden: [16, 16, 16, 16]}, wide: {model.hidden: [32, 32, 32, "
         "32]}}}")


@pytest.fixture
def hill(monkeypatch):
    """Runs that only pretend: the best rate is 0.01, and every epoch comes a tenth closer to what it gives."""
    seen, numbers = [], count()

    def pretend(config, reporter=None, study=None, **_):
        seen.append(config)
        run = Path(config.tracking.runs) / f"run-{next(numbers)}"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"lr: {config.optimizer.lr}\n")
        top = 1 - abs(math.log10(config.optimizer.lr) + 2) / 4
        reporter.started(None, run, 0)
        for epoch in range(1, config.train.epochs + 1):
            ends = reporter.epoch(epoch, {"val/accuracy": top * epoch / config.train.epochs})
            if ends and epoch < config.train.epochs:
                raise trial_module.RunPruned("not worth it", epoch)
        metrics = {"val/accuracy": top, "time/steps_per_second": 1 / config.optimizer.lr}
        return {"scheme": config.scheme.name, "seed": config.seed, "metrics": metrics}

    monkeypatch.setattr(trial_module, "train", pretend)
    monkeypatch.setattr(report, "draw_search", lambda *_: [])  # takes seconds; `drawn` draws
    return seen


@pytest.fixture
def drawn(hill, monkeypatch):
    monkeypatch.setattr(report, "draw_search", draw_search)


class Heard(Unwatched):
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.notes, self.ended, self.best = [], [], []

    def finished(self, progress):
        self.best.append(progress.best)

    def retried(self, number, text):
        self.ended.append(number)

    def note(self, text):
        self.notes.append(text)


def search(study, *overrides):
    return study("data.validation=0.2", "sweep.metric=val/accuracy", "sweep.sampler=random", LR, *overrides)


def trials_of(summary) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(summary["trials_table"]).open()))


@pytest.mark.parametrize("sampler", [*SAMPLERS, "NSGAIISampler", "{name: tpe, n_startup_trials: 2}"])
def test_every_sampler_searches(study, hill, sampler):
    summary = sweep(search(study, f"sweep.sampler={sampler}", "sweep.trials=8", WIDTH))
    assert (summary["trials"], summary["complete"], len(hill)) == (8, 8, 8)
    assert len({config.optimizer.lr for config in hill}) > 5
    best = max(hill, key=lambda config: -abs(math.log10(config.optimizer.lr) + 2))
    assert summary["best"]["params"]["optimizer.lr"] == best.optimizer.lr


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes", "qmc"])
def test_the_same_seed_repeats_a_search_even_if_it_is_interrupted(study, hill, monkeypatch, sampler):
    words = [f"sweep.sampler={sampler}", "sweep.trials=14"]
    sweep(search(study, *words, "name=unbroken"))
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
            with pytest.raises(RunInterrupted, match="of 14 trials are behind it"):
                sweep(search(study, *words))
        assert sweep(search(study, *words))["trials"] == 14
    assert [config.optimizer.lr for config in hill if config is not None] == unbroken
    hill.clear()
    sweep(search(study, *words, "name=other", "seed=1"))
    assert [config.optimizer.lr for config in hill] != unbroken


def test_more_trials_may_be_asked_for_later(study, hill):
    sweep(search(study, "sweep.trials=2"))
    queued = sweep(search(study, "sweep.trials=2", "sweep.enqueue=[{optimizer.lr: 0.5}]"), watcher=(heard := Heard()))
    assert (queued["trials"], len(hill)) == (2, 2)
    assert heard.notes == ["1 queued trials wait for a larger sweep.trials"]
    summary = sweep(search(study, "sweep.trials=5", "sweep.concurrent=1"))
    assert (summary["trials"], len(hill)) == (5, 5)
    assert hill[2].optimizer.lr == 0.5
    assert sweep(search(study, "sweep.trials=3"))["trials"] == 5
    with pytest.raises(ConfigError, match=r"sweep.sampler=random, not tpe"):
        sweep(search(study, "sweep.trials=6", "sweep.sampler=tpe"))


def test_a_search_ends_when_its_time_is_up(study, hill):
    summary = sweep(search(study, "sweep.hours=1e-4"))  # a third of a second
    assert 0 < summary["trials"] < 200


def test_enqueued_points_come_first_and_the_rest_of_them_is_sampled(study, hill):
    summary = sweep(search(study, "sweep.trials=3", WIDTH, "sweep.enqueue=[{optimizer.lr: 0.01}, "
                           "{optimizer.lr: 0.5, width: wide}]"))
    assert [config.optimizer.lr for config in hill][:2] == [0.01, 0.5]
    assert hill[1].model["hidden"] == [32, 32, 32, 32]
    assert summary["best"]["trial"] == 0
    assert yaml.safe_load(Path(summary["best_config"]).read_text()) == {"lr": 0.01}
    assert Path(summary["best_config"]).read_text().startswith("# trial 0: optimizer.lr=0.01 width=")


def test_what_is_not_worth_it_ends_early_and_counts(study, hill):
    words = ["sweep.trials=20", "train.epochs=9", "sweep.pruner={name: asha, reduction_factor: 3}"]
    summary = sweep(search(study, *words))
    assert summary["complete"] + summary["pruned"] == 20
    assert summary["pruned"] >= 8
    assert summary["rows"][0].group["trial"] == str(summary["best"]["trial"])
    epochs = [int(row["state"].rpartition(" ")[2]) for row in trials_of(summary) if row["state"] != "complete"]
    assert set(epochs) <= {1, 3}  # rungs at 1, 3 and 9
    assert sweep(search(study, *words))["trials"] == 20
    assert len(hill) == 20


@pytest.mark.parametrize("pruner", ["median", "hyperband", "percentile", "patient", "ThresholdPruner"])
def test_every_pruner_is_asked(study, hill, pruner):
    option = "{name: ThresholdPruner, lower: 0.09}" if pruner == "ThresholdPruner" else pruner
    summary = sweep(search(study, "sweep.trials=25", "train.epochs=9", f"sweep.pruner={option}"))
    assert summary["complete"] + summary["pruned"] == 25
    assert summary["pruned"] >= (0 if pruner == "patient" else 1)  # patient: every epoch is better than the last here


def test_a_trial_is_the_mean_over_its_seeds(study, hill, monkeypatch):
    summary = sweep(search(study, "sweep.trials=2", "sweep.repeats=3", "seed=5"))
    assert [config.seed for config in hill] == [5, 6, 7, 5, 6, 7]
    assert {config.optimizer.lr for config in hill[:3]} == {hill[0].optimizer.lr}
    assert [len(row.seeds) for row in summary["rows"]] == [3, 3]
    assert len(trials_of(summary)[0]["runs"].split()) == 3
    assert yaml.safe_load(Path(summary["best_config"]).read_text())["lr"] == summary["best"]["params"]["optimizer.lr"]


def test_several_metrics_have_a_front(study, hill, drawn):
    summary = sweep(search(study, "sweep.trials=12", "sweep.metric=[val/accuracy, time/steps_per_second]"))
    assert summary["best"] is None
    front = {entry["trial"]: entry["values"] for entry in summary["pareto"]}
    others = [(1 - abs(math.log10(c.optimizer.lr) + 2) / 4, 1 / c.optimizer.lr) for c in hill]
    for number, values in front.items():
        assert not any(a > values[0] and b > values[1] for a, b in others), number
    assert {path.name for path in (Path(summary["study_dir"]) / "pareto").iterdir()} == {
        f"trial-{number:04d}.yaml" for number in front}
    assert {path.name for path in (Path(summary["study_dir"]) / "plots").glob("pareto.*")} == {"pareto.png",
                                                                                             "pareto.html"}


def test_points_that_the_budget_does_not_reach_are_left_in_the_queue(study, hill, monkeypatch):
    def interrupted(*_, **__):
        raise RunInterrupted("Ctrl-C")

    points = "sweep.enqueue=[{optimizer.lr: 0.1}, {optimizer.lr: 0.2}, {optimizer.lr: 0.3}]"
    with monkeypatch.context() as impatient:
        impatient.setattr(trial_module, "train", interrupted)
        with pytest.raises(RunInterrupted):
            sweep(search(study, "sweep.trials=3", points))
    summary = sweep(search(study, "sweep.trials=2"))
    assert (summary["trials"], [config.optimizer.lr for config in hill]) == (2, [0.1, 0.2])


def test_a_trial_beyond_its_constraints_is_never_the_best(study, hill):
    free = sweep(search(study, "sweep.trials=12", "name=free"))
    hill.clear()
    bound = sweep(search(study, "sweep.trials=12", "sweep.constraints={time/steps_per_second: {min: 500}}"))
    assert free["best"]["params"]["optimizer.lr"] > 2e-3
    assert bound["best"]["params"]["optimizer.lr"] <= 2e-3
    assert {row["feasible"] for row in trials_of(bound)} == {"True", "False"}
    feasible = [row.feasible for row in bound["rows"]]
    assert feasible == sorted(feasible, reverse=True)
    assert bound["rows"][0].group["trial"] == str(bound["best"]["trial"])
    console = Console(width=200, file=(text := io.StringIO()))
    console.print(render(bound["rows"], ["val/accuracy"]))
    assert text.getvalue().count("(infeasible)") == feasible.count(False) > 0


@pytest.mark.parametrize("overrides", [[], ["sweep.sampler=grid", "sweep.space.optimizer.lr=[0.01]"]])
def test_where_nothing_is_within_the_constraints_nothing_is_the_best(study, hill, overrides):
    trials = [] if overrides else ["sweep.trials=3"]
    summary = sweep(search(study, *trials, *overrides, "sweep.constraints={time/steps_per_second: {min: 1e9}}"))
    assert summary["complete"] == len(hill)
    assert summary["best"] is None


def test_a_constraint_that_is_not_finite_is_a_failure(study, hill, monkeypatch):
    pretend = trial_module.train

    def without(config, **options):
        summary = pretend(config, **options)
        return summary | {"metrics": summary["metrics"] | {"time/steps_per_second": math.nan}}

    monkeypatch.setattr(trial_module, "train", without)
    summary = sweep(search(study, "sweep.trials=2", "sweep.constraints={time/steps_per_second: {min: 500}}"))
    assert set(summary["failed"].values()) == {"the run reports no finite time/steps_per_second"}
    failures = sorted((Path(summary["study_dir"]) / "failures").iterdir())
    assert [path.name for path in failures] == ["trial-0000.txt", "trial-0001.txt"]


def test_the_best_of_a_search_may_be_a_frozen_one(study, hill):
    points = "sweep.enqueue=[{optimizer.lr: 0.01, scheme.name: frozen}, {optimizer.lr: 0.5, scheme.name: cdni}]"
    summary = sweep(search(study, "sweep.trials=2", "sweep.space.scheme.name=[frozen, cdni]", points),
                    watcher=(heard := Heard()))
    assert heard.best == ["1.0000 trial 0"] * 2
    assert [row.group["trial"] for row in summary["rows"]] == ["0", "1"]


def test_the_plots_of_a_search_are_pictures_and_pages(study, drawn):
    summary = sweep(search(study, "sweep.trials=6", WIDTH, "sweep.pruner=median"))
    plots = Path(summary["study_dir"]) / "plots"
    names = {"history", "importances", "slices", "contours", "parallel coordinates", "intermediate values"}
    assert {path.stem for path in plots.glob("*.png")} == names
    assert {path.stem for path in plots.glob("*.html")} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.glob("*.png"))
    assert "cdn.plot.ly" not in (plots / "history.html").read_text()[:2000]


def test_a_trial_whose_process_died_is_tried_again_but_not_for_ever(study, hill, monkeypatch):
    died = []

    def dies(config, **_):
        died.append(config.optimizer.lr)
        error = RunFailed("a worker died")
        error.may_pass = True
        raise error

    monkeypatch.setattr(trial_module, "train", dies)
    summary = sweep(search(study, "sweep.trials=2", "sweep.retries=2"), watcher=(heard := Heard()))
    assert (summary["trials"], summary["complete"]) == (2, 0)
    assert len(heard.ended) == 4
    assert len(died) == 6
    assert len(set(died)) == 2  # the same point each time


def test_a_metric_that_no_trial_reports_stops_the_study_at_the_first(study, hill):
    with pytest.raises(ConfigError, match=r"sweep.metric: the run reports no time/wait; it reports time/steps_per"):
        sweep(search(study, "sweep.trials=5", "sweep.metric=time/wait"))
    assert len(hill) == 1


def test_a_constraint_that_no_trial_reports_is_told_under_its_own_key(study, hill):
    with pytest.raises(ConfigError, match=r"sweep.constraints: the run reports no time/wait; it reports time/steps"):
        sweep(search(study, "sweep.trials=5", "sweep.constraints={time/wait: {max: 1}}"))


def test_a_metric_that_only_some_trials_report_is_a_failure_of_the_others(study, hill, monkeypatch):
    pretend = trial_module.train

    def some(config, **options):
        summary = pretend(config, **options)
        return summary | {"metrics": {"sg/loss/module_0": 0.5} if config.scheme.name == "cdni" else summary["metrics"]}

    monkeypatch.setattr(trial_module, "train", some)
    summary = sweep(study("sweep.metric=sg/loss/module_0", "sweep.space.scheme.name=[cdni, backprop, dfa]"))
    assert (summary["complete"], list(summary["failed"].values())) == (1, ["the run reports no sg/loss/module_0"] * 2)


def test_a_kill_around_a_pruning_leaves_the_trial_pruned_and_nothing_else(study, hill, monkeypatch):
    def killed(self, trial, epoch):
        trial.set_user_attr("pruned", epoch)
        raise RunInterrupted("killed before its state was told")

    words = ["sweep.trials=3", "train.epochs=9", "sweep.pruner={name: ThresholdPruner, lower: 2}"]
    with monkeypatch.context() as dying:
        dying.setattr(Study, "prune", killed)
        with pytest.raises(RunInterrupted):
            sweep(search(study, *words))
    summary = sweep(search(study, *words))
    assert (summary["complete"], summary["pruned"], summary["failed"]) == (0, 3, {})
    assert [row["state"] for row in trials_of(summary)] == ["pruned at epoch 1"] * 3
    assert len(hill) == 3, "it does not run again"


def test_a_failure_that_is_tried_again_has_its_own_step_in_mlflow(study, hill, monkeypatch):
    pretend = trial_module.train
    outcomes = iter([ZeroDivisionError])

    def fragile(config, **options):
        for error in outcomes:
            raise error
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", fragile)
    sweep(search(study, "sweep.trials=3"))
    sweep(search(study, "sweep.trials=3"), retry_failed=True)
    records = map(json.loads, Path("runs/small/tracking/spool.jsonl").read_text().splitlines())
    assert [record["step"] for record in records if record["t"] == "metrics"] == [2, 3, 4]


def test_a_database_may_hold_the_study(study, hill, tmp_path):
    words = ["sweep.trials=4", f"sweep.storage=sqlite:///{tmp_path}/studies.db"]
    sweep(search(study, *words))
    assert (tmp_path / "studies.db").is_file()
    assert not (tmp_path / "runs/small/study.journal").exists()
    assert sweep(search(study, *words))["trials"] == 4
    assert len(hill) == 4
    with pytest.raises(ConfigError, match=r"sweep.storage: nonsense cannot be opened"):
        sweep(search(study, "name=other", "sweep.trials=1", "sweep.storage=nonsense"))


def test_two_folders_cannot_share_a_study_of_a_database(study, hill, tmp_path):
    words = ["sweep.trials=2", f"sweep.storage=sqlite:///{tmp_path}/studies.db"]
    sweep(search(study, *words))
    with pytest.raises(ConfigError, match=f"name: the study small of this database lies in {tmp_path}/runs/small"):
        sweep(search(study, *words, "tracking.runs=others"))
    shutil.rmtree("others")
    Path("runs").rename("others")
    assert sweep(search(study, *words, "tracking.runs=others"))["trials"] == 2, "it was moved there"
    assert len(hill) == 2


@pytest.mark.parametrize(("first", "then"), [("null", "sqlite:///s.db"), ("sqlite:///s.db", "null")])
def test_a_study_does_not_begin_anew_in_another_storage(study, hill, first, then):
    sweep(search(study, "sweep.trials=1", f"sweep.storage={first}"))
    with pytest.raises(ConfigError, match=f"sweep.storage: the study runs/small was started with {first}, not {then}"):
        sweep(search(study, "sweep.trials=2", f"sweep.storage={then}"))
    assert len(hill) == 1


def test_the_status_of_a_study_is_read_while_another_process_could_be_at_it(study, hill, monkeypatch):
    pretend, looks = trial_module.train, []

    def looked_at(config, **options):
        if len(hill) == 2:
            looks.append(status("small"))
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", looked_at)
    sweep(search(study, "sweep.trials=4"))
    (during,) = looks
    assert (during.summary["complete"], [trial.number for trial in during.running], during.total) == (2, [2], 4)
    assert during.held
    after = status("runs/small")
    assert (after.summary["trials"], after.running, after.held) == (4, [], False)
    with pytest.raises(ConfigError, match=r"there is no study smal in runs \(known: small\)"):
        status("smal")


def test_the_best_configuration_trains_to_the_very_metric_of_its_trial(study):
    config = study("data.validation=0.2", "sweep.metric=val/accuracy", "sweep.sampler=tpe", "sweep.trials=3", LR,
                   "train.epochs=1", "sweep.repeats=2")
    summary = sweep(config)
    again = train(load_config(summary["best_config"]))
    row = next(row for row in summary["rows"] if row.group["trial"] == str(summary["best"]["trial"]))
    assert again["metrics"]["val/accuracy"] == row.seeds["0"]["val/accuracy"]
    assert again["metrics"]["test/loss"] == row.seeds["0"]["test/loss"]


def test_a_pruned_run_is_saved_and_goes_on(study):
    from unlocked import resume

    class Judge:
        def begun(self, number, seed, run):
            self.run = run

        def epoch(self, number, epoch, epochs, value):
            return epoch == 1

        def note(self, number, text): ...

    class Tracking:
        def __init__(self):
            self.tags = {}

        def write(self, *_): ...

    config = study("train.epochs=3", "data.validation=0.2")
    judge = Judge()
    outcome = trial_module.run_trial(trial_module.Job(0, config, "val/accuracy", {}), judge, Tracking())
    assert outcome.pruned == 1
    run = Path("runs") / judge.run
    assert not (run / "summary.json").exists()
    rest = resume(run)
    assert rest["epochs"] == 3
    assert rest["metrics"]["test/loss"] == train(config)["metrics"]["test/loss"]


@pytest.mark.parametrize(("overrides", "words"), [
    (["sweep.sampler=tep", "sweep.trials=1"], "sweep.sampler: unknown sampler 'tep'; did you mean 'tpe'?"),
    (["sweep.sampler=GridSampler", "sweep.trials=1"], "sweep.sampler: GridSampler takes every point of the space"),
    (["sweep.sampler=BruteForceSampler", "sweep.trials=1"], "sweep.sampler: BruteForceSampler takes every point"),
    (["sweep.sampler={name: tpe, n_startup: 3}", "sweep.trials=1"], "sweep.sampler.n_startup: unknown option"),
    (["sweep.sampler={name: qmc, qmc_type: sobolt}", "sweep.trials=1"], "sweep.sampler: QMCSampler: The `qmc_type"),
    (["sweep.sampler=3", "sweep.trials=1"], "sweep.sampler: 3 is no name"),
    ([], "sweep.trials: a search has no end of its own"),
    (["sweep.trials=0"], "sweep.trials: 0 is out of range"),
    (["sweep.trials=1", "sweep.pruner=ashha"], "sweep.pruner: unknown pruner 'ashha'; did you mean 'asha'?"),
    (["sweep.trials=1", "sweep.pruner=asha", "sweep.metric=test/accuracy"], "pruning needs a val/ metric"),
    (["sweep.trials=1", "sweep.pruner=asha", "sweep.metric=[val/accuracy, val/loss]"], "Optuna prunes by one metric"),
    (["sweep.trials=1", "sweep.metric=[]"], "sweep.metric: [] is no name"),
    (["sweep.trials=1", "sweep.metric=[val/loss, val/loss]"], "no list of different ones"),
    (["sweep.trials=1", "sweep.direction=[minimize, maximize]"], "sweep.direction: ['minimize', 'maximize'] for 1"),
    (["sweep.trials=1", "sweep.constraints={val/loss: {least: 3}}"], "sweep.constraints.val/loss: {'least': 3} is no"),
    (["sweep.trials=1", "sweep.repeats=2", "sweep.space.seed=[1]"], "sweep.repeats: the seed is in the space"),
    (["sweep.trials=1", "sweep.enqueue=[{optimizer.lrr: 1}]"], "sweep.enqueue[0]: unknown dimension 'optimizer.lrr'"),
    (["sweep.trials=1", "sweep.enqueue=[{optimizer.lr: 3.0}]"], "sweep.enqueue[0].optimizer.lr: 3.0 is not in the"),
    (["sweep.trials=1", WIDTH, "sweep.enqueue=[{optimizer.lrr: 1}]"], "sweep.enqueue[0]: unknown dimension"),
    (["sweep.trials=1", "sweep.enqueue=[3]"], "sweep.enqueue[0]: 3 is no point; expected dimensions"),
    (["sweep.trials=1", "sweep.enqueue=[{optimizer.lr: 0.1}, {optimizer.lr: 0.2}]"],
     "sweep.enqueue: 2 points are more than sweep.trials, 1"),
    (["sweep.trials=1", "sweep.plot.x=optimizer.lr"], "sweep.plot: a search has the plots of its study"),
])
def test_a_wrong_search_is_one_line(study, hill, overrides, words):
    with pytest.raises(ConfigError) as caught:
        sweep(search(study, *overrides))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not hill
    assert not Path("runs").exists()


def test_a_grid_takes_no_number_of_trials(study, hill):
    with pytest.raises(ConfigError, match=r"sweep.trials: a grid holds every combination"):
        sweep(study("sweep.space.seed=[1,2]", "sweep.trials=1"))


def test_corners_that_cannot_run_are_told_and_fail_alone(study, hill):
    config = search(study, "sweep.trials=6", "sweep.space.parallel.stages=[2, 9]", "parallel.partition=null")
    first, line = check_study(config, Space(config))
    assert first == "2 of 4 corners of the space cannot run; such trials will fail:"
    assert "parallel.stages: 9 is more than" in line
    with pytest.raises(ConfigError, match="4 of 4 trials cannot run"):
        check_study(bad := search(study, "sweep.trials=6", "sweep.space.parallel.stages=[8, 9]"), Space(bad))


def test_corners_are_drawn_without_making_them_all(study, monkeypatch):
    monkeypatch.setattr(Range, "grid", lambda self: pytest.fail("505 numbers"))
    keys = ("data.batch_size", "train.epochs", "train.log_every")
    config = study("sweep.sampler=tpe", "sweep.trials=1", *(f"sweep.space.{key}={{low: 8, high: 512}}" for key in keys))
    assert check_study(config, Space(config)) == []


def test_resources_that_this_machine_has_not_are_refused_for_one_trial_at_a_time_too(study, hill):
    with pytest.raises(ConfigError, match=r"sweep.resources: no node has 1 CPU and 64 GPU for a trial \(this machine"):
        sweep(search(study, "sweep.trials=1", "sweep.resources.gpu=64"))
    assert not hill


def test_samplers_are_made_with_what_their_names_promise(study):
    config = search(study, "sweep.trials=1", "sweep.sampler=tpe")
    assert make_sampler(config, 0)._multivariate
    assert not make_sampler(config, 0)._constant_liar
    assert make_sampler(search(study, "sweep.trials=1", "sweep.sampler=tpe", "sweep.concurrent=2"), 0)._constant_liar
    hyperband = make_pruner(search(study, "sweep.trials=1", "train.epochs=27", "sweep.pruner=hyperband"))
    assert hyperband._max_resource == 27
    alone = make_sampler(search(study, "sweep.trials=1", "sweep.sampler={name: tpe, multivariate: false}"), 0)
    assert (alone._multivariate, alone._group) == (False, False)


def test_a_pruner_within_another_is_made_like_any(study):
    def made(pruner):
        return make_pruner(search(study, "sweep.trials=1", "train.epochs=27", f"sweep.pruner={pruner}"))

    assert made("{name: patient, wrapped_pruner: hyperband}")._wrapped_pruner._max_resource == 27
    assert isinstance(made("patient")._wrapped_pruner, MedianPruner)
    assert made("{name: patient, wrapped_pruner: null}")._wrapped_pruner is None
