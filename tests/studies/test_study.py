"""What a study remembers of its trials, also of those that failed or were killed, and where it is stored."""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from pathlib import Path

import pytest

from unlocked import sweep
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.schema.renamed import RenamedKey
from unlocked.studies import trial as trial_module
from unlocked.studies.status import status
from unlocked.studies.study import Study


def test_a_constraint_that_is_not_finite_is_a_failure(search, hill, monkeypatch):
    pretend = trial_module.train

    def without(config, **options):
        summary = pretend(config, **options)
        return summary | {"metrics": summary["metrics"] | {"time/steps_per_second": math.nan}}

    monkeypatch.setattr(trial_module, "train", without)
    summary = sweep(search("sweep.trials=2", "sweep.constraints={time/steps_per_second: {min: 500}}"))
    assert set(summary["failed"].values()) == {"the run reports no finite time/steps_per_second"}
    failures = sorted((Path(summary["study_dir"]) / "failures").iterdir())
    assert [path.name for path in failures] == ["trial-0000.txt", "trial-0001.txt"]


def test_a_trial_whose_process_died_is_tried_again_but_not_for_ever(search, hill, monkeypatch, heard):
    died = []

    def dies(config, **_):
        died.append(config.optimizer.lr)
        error = RunFailed("a worker died")
        error.may_pass = True
        raise error

    monkeypatch.setattr(trial_module, "train", dies)
    summary = sweep(search("sweep.trials=2", "sweep.retries=2"), watcher=heard)
    assert (summary["trials"], summary["complete"]) == (2, 0)
    assert len(heard.ended) == 4
    assert len(died) == 6
    assert len(set(died)) == 2  # the same point each time


def test_a_metric_that_no_trial_reports_stops_the_study_at_the_first(search, hill):
    with pytest.raises(ConfigError, match=r"sweep.metric: the run reports no time/wait; it reports time/steps_per"):
        sweep(search("sweep.trials=5", "sweep.metric=time/wait"))
    assert len(hill) == 1


def test_a_constraint_that_no_trial_reports_is_told_under_its_own_key(search, hill):
    with pytest.raises(ConfigError, match=r"sweep.constraints: the run reports no time/wait; it reports time/steps"):
        sweep(search("sweep.trials=5", "sweep.constraints={time/wait: {max: 1}}"))


def test_a_metric_that_only_some_trials_report_is_a_failure_of_the_others(study, hill, monkeypatch):
    pretend = trial_module.train

    def some(config, **options):
        summary = pretend(config, **options)
        return summary | {"metrics": {"sg/loss/module_0": 0.5} if config.scheme.name == "cdni" else summary["metrics"]}

    monkeypatch.setattr(trial_module, "train", some)
    summary = sweep(study("sweep.metric=sg/loss/module_0", "sweep.space.scheme.name=[cdni, backprop, dfa]"))
    assert (summary["complete"], list(summary["failed"].values())) == (1, ["the run reports no sg/loss/module_0"] * 2)


def test_a_kill_around_a_pruning_leaves_the_trial_pruned_and_nothing_else(search, hill, monkeypatch, trials_of):
    def killed(self, trial, epoch):
        trial.set_user_attr("pruned", epoch)
        raise RunInterrupted("killed before its state was told")

    words = ["sweep.trials=3", "train.epochs=9", "sweep.pruner={name: ThresholdPruner, lower: 2}"]
    with monkeypatch.context() as dying:
        dying.setattr(Study, "prune", killed)
        with pytest.raises(RunInterrupted):
            sweep(search(*words))
    summary = sweep(search(*words))
    assert (summary["complete"], summary["pruned"], summary["failed"]) == (0, 3, {})
    assert [row["state"] for row in trials_of(summary)] == ["pruned at epoch 1"] * 3
    assert len(hill) == 3, "it does not run again"


def test_a_failure_that_is_tried_again_has_its_own_step_in_mlflow(search, hill, monkeypatch):
    pretend = trial_module.train
    outcomes = iter([ZeroDivisionError])

    def fragile(config, **options):
        for error in outcomes:
            raise error
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", fragile)
    sweep(search("sweep.trials=3"))
    sweep(search("sweep.trials=3"), retry_failed=True)
    records = map(json.loads, Path("runs/small/tracking/spool.jsonl").read_text().splitlines())
    assert [record["step"] for record in records if record["t"] == "metrics"] == [2, 3, 4]


def test_a_database_may_hold_the_study(search, hill, tmp_path):
    words = ["sweep.trials=4", f"sweep.storage=sqlite:///{tmp_path}/studies.db"]
    sweep(search(*words))
    assert (tmp_path / "studies.db").is_file()
    assert not (tmp_path / "runs/small/study.journal").exists()
    assert sweep(search(*words))["trials"] == 4
    assert len(hill) == 4
    with pytest.raises(ConfigError, match=r"sweep.storage: nonsense cannot be opened"):
        sweep(search("name=other", "sweep.trials=1", "sweep.storage=nonsense"))


def test_two_folders_cannot_share_a_study_of_a_database(search, hill, tmp_path):
    words = ["sweep.trials=2", f"sweep.storage=sqlite:///{tmp_path}/studies.db"]
    sweep(search(*words))
    with pytest.raises(ConfigError, match=f"name: the study small of this database lies in {tmp_path}/runs/small"):
        sweep(search(*words, "tracking.runs=others"))
    shutil.rmtree("others")
    Path("runs").rename("others")
    assert sweep(search(*words, "tracking.runs=others"))["trials"] == 2, "it was moved there"
    assert len(hill) == 2


@pytest.mark.parametrize(("first", "then"), [("null", "sqlite:///s.db"), ("sqlite:///s.db", "null")])
def test_a_study_does_not_begin_anew_in_another_storage(search, hill, first, then):
    sweep(search("sweep.trials=1", f"sweep.storage={first}"))
    with pytest.raises(ConfigError, match=f"sweep.storage: the study runs/small was started with {first}, not {then}"):
        sweep(search("sweep.trials=2", f"sweep.storage={then}"))
    assert len(hill) == 1


def _as_an_earlier_version_wrote(folder):
    old = {
        "parallel.modules": "parallel.stages",
        "data.transforms": "data.augment",
        "parallel.engine": "parallel.launcher",
    }
    for file in (folder / "study.journal", folder / "study.yaml"):
        text = re.sub(r',"crc":\d+', "", file.read_text())  # nor did it protect its lines
        for now, before in old.items():
            text = text.replace(now, before)
            text = re.sub(rf"\b{now.partition('.')[2]}:", f"{before.partition('.')[2]}:", text)
        file.write_text(text)


def test_a_study_of_an_earlier_version_goes_on_under_the_present_names(study, trained, monkeypatch):
    config = study("sweep.space.parallel.modules=[1,2,4]", "sweep.plot.x=parallel.modules")
    pretend = trial_module.train

    def first_alone(config, **options):
        if trained:
            raise KeyboardInterrupt
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", first_alone)
    with pytest.raises((KeyboardInterrupt, RunInterrupted)):
        sweep(config)
    folder = Path("runs/small")
    _as_an_earlier_version_wrote(folder)
    assert "parallel.modules" not in (folder / "study.journal").read_text()

    with warnings.catch_warnings():
        warnings.simplefilter("error", RenamedKey)
        assert [row.group["modules"] for row in status("small").summary["rows"]] == ["1"]
        monkeypatch.setattr(trial_module, "train", pretend)
        summary = sweep(config)
    assert [seen.parallel.modules for seen in trained] == [1, 2, 4]
    assert [row.group["modules"] for row in summary["rows"]] == ["1", "2", "4"]
    assert sweep(config)["trials"] == 3  # and again
