"""What a study trains, records, and does not do twice."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import load_study

from unlocked import compare, load_config, sweep, train
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.files import locked
from unlocked.runs.folder import read_config, write_config
from unlocked.studies import driver, moved
from unlocked.studies import study as studies
from unlocked.studies import trial as trial_module
from unlocked.studies.check import check_study
from unlocked.studies.runners import Here
from unlocked.studies.space import Space

SPACE = ["sweep.space.scheme.name=[cdni,dfa]", "sweep.space.seed=[0,1]"]


def journal(folder: Path):
    return load_study(study_name=folder.name, storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))))


def test_a_trial_is_the_very_run_that_its_configuration_gives_alone(study, tmp_path):
    summary = sweep(study("sweep.space.scheme.name=[dfa]", "sweep.space.seed=[0,1]"), plot=tmp_path / "copy.png")
    assert (summary["trials"], summary["complete"]) == (2, 2)
    alone = train(study("scheme.name=dfa", "seed=1"))
    first, second = journal(Path(summary["study_dir"])).trials
    assert second.params == {"scheme.name": "dfa", "seed": 1}
    assert second.user_attrs["summaries"][0]["metrics"]["test/loss"] == alone["metrics"]["test/loss"]
    assert second.value == alone["metrics"]["test/accuracy"]
    assert first.user_attrs["summaries"][0]["metrics"]["test/loss"] != alone["metrics"]["test/loss"]
    assert (tmp_path / "runs" / second.user_attrs["runs"]["1"] / "summary.json").is_file()
    assert (tmp_path / "copy.png").read_bytes() == Path(summary["plot"]).read_bytes()
    assert Path(summary["table"]).read_text().count("\n") == 2


def test_the_best_is_the_mean_over_seeds_and_not_the_control(study, trained):
    summary = sweep(study("sweep.space.scheme.name=[frozen,dfa,cdni]", "sweep.space.seed=[0,1]"))
    assert summary["best"] == {"group": {"scheme": "cdni"}, "mean": pytest.approx(0.905), "seeds": 2}
    assert [row.group["scheme"] for row in summary["rows"]] == ["cdni", "dfa", "frozen"]
    assert summary["rows"][-1].is_control
    lowest = sweep(study("name=low", "sweep.space.scheme.name=[frozen,dfa,cdni]", "sweep.direction=minimize"))
    assert lowest["best"]["group"] == {"scheme": "dfa"}


def test_a_group_beyond_the_constraints_is_not_the_best(study, trained):
    summary = sweep(
        study(
            "sweep.space.scheme.name=[cdni,dfa]",
            "sweep.space.seed=[0,1]",
            "sweep.constraints={test/accuracy: {max: 0.85}}",
        )
    )
    assert summary["best"]["group"] == {"scheme": "dfa"}
    assert [(row.group["scheme"], row.feasible) for row in summary["rows"]] == [("dfa", True), ("cdni", False)]


def test_the_control_is_known_by_its_scheme_whatever_its_choice_is_called(study, trained):
    summary = sweep(study("sweep.space.how={choice: {learns: {scheme.name: dfa}, rests: {scheme.name: frozen}}}"))
    assert [(row.group, row.is_control) for row in summary["rows"]] == [
        ({"how": "learns"}, False),
        ({"how": "rests"}, True),
    ]


def test_a_trial_is_given_no_value_of_a_dimension_whose_condition_does_not_hold(study, trained):
    summary = sweep(
        study(
            "sweep.space.scheme.name=[frozen,dfa]",
            "sweep.plot.x=scheme.lag",
            "sweep.space.scheme.lag={choice: [1, 4], when: {scheme.name: dfa}}",
        )
    )
    assert [(config.scheme.name, config.scheme.lag) for config in trained] == [
        ("frozen", "auto"),
        ("dfa", 1),
        ("dfa", 4),
    ]
    assert [trial.params for trial in journal(Path(summary["study_dir"])).trials] == [
        {"scheme.name": "frozen"},
        {"scheme.name": "dfa", "scheme.lag": 1},
        {"scheme.name": "dfa", "scheme.lag": 4},
    ]
    assert [row.label for row in summary["rows"]] == ["dfa lag 1", "dfa lag 4", "frozen"]


def test_a_finished_study_repeats_nothing(study, trained):
    first = sweep(study(*SPACE))
    assert [(config.scheme.name, config.seed) for config in trained] == [
        ("cdni", 0),
        ("cdni", 1),
        ("dfa", 0),
        ("dfa", 1),
    ]
    again = sweep(study(*SPACE))
    assert len(trained) == 4
    assert again["rows"] == first["rows"]


def test_a_failed_trial_is_recorded_with_its_message_and_the_study_goes_on(study, trained, monkeypatch):
    pretend = trial_module.train

    def fragile(config, **options):
        if (config.scheme.name, config.seed) == ("cdni", 1):
            raise error
        return pretend(config, **options)

    monkeypatch.setattr(trial_module, "train", fragile)
    error: Exception = RunFailed("the loss became NaN at step 3")
    summary = sweep(study(*SPACE))
    assert (summary["trials"], summary["complete"]) == (4, 3)
    assert summary["failed"] == {"scheme.name=cdni seed=1": "the loss became NaN at step 3"}
    folder = Path(summary["study_dir"])
    assert journal(folder).trials[1].user_attrs["failure"] == "the loss became NaN at step 3"
    assert "RunFailed" in (folder / "failures" / "trial-0001.txt").read_text()

    error = ZeroDivisionError("by a model of one's own")
    assert sweep(study(*SPACE))["failed"] == summary["failed"], "a failed trial is not tried again unasked"
    retried = sweep(study(*SPACE), retry_failed=True)
    assert retried["failed"] == {"scheme.name=cdni seed=1": "ZeroDivisionError: by a model of one's own"}
    monkeypatch.setattr(trial_module, "train", pretend)
    assert sweep(study(*SPACE), retry_failed=True)["complete"] == 4
    assert len(trained) == 4


def test_a_run_without_the_metric_is_a_failure(study, monkeypatch):
    monkeypatch.setattr(trial_module, "train", lambda config, **_: {"metrics": {"test/accuracy": float("nan")}})
    summary = sweep(study(*SPACE))
    assert summary["complete"] == 0
    assert set(summary["failed"].values()) == {"the run reports no finite test/accuracy"}
    assert summary["best"] is None


def test_after_ctrl_c_the_interrupted_trial_goes_on_from_its_checkpoint_to_the_same_numbers(study, monkeypatch):
    unbroken = sweep(study("name=unbroken", *SPACE))

    class Impatient(trial_module._Reporter):
        def epoch(self, epoch, values):
            if self._job.number == 2 and epoch == 1:
                signal.raise_signal(signal.SIGINT)
            return super().epoch(epoch, values)

    resumed = []
    resume = trial_module.resume
    monkeypatch.setattr(trial_module, "resume", lambda run, **options: resumed.append(run) or resume(run, **options))
    with monkeypatch.context() as impatient:
        impatient.setattr(trial_module, "_Reporter", Impatient)
        with pytest.raises(RunInterrupted, match="2 of 4 trials are done; go on with: unlocked sweep /"):
            sweep(study(*SPACE))
    assert sorted(Path("runs/small").glob("failures/*")) == []
    broken = sweep(study(*SPACE))
    assert [run.name for run in resumed] == [journal(Path("runs/small")).trials[2].user_attrs["runs"][str(2 % 2)]]
    assert (broken["trials"], broken["complete"]) == (4, 4)
    for one, other in zip(broken["rows"], unbroken["rows"], strict=True):
        assert [one.seeds[seed]["test/loss"] for seed in "01"] == [other.seeds[seed]["test/loss"] for seed in "01"]


@pytest.mark.live
@pytest.mark.timeout(120)
def test_a_study_that_was_killed_goes_on_and_repeats_no_finished_trial(study, small):
    words = [*small, "train.epochs=20", *SPACE]
    command = [sys.executable, "-m", "unlocked", "sweep", "quickstart", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "1/4" in line:
                process.kill()
    trials = journal(Path("runs/small")).trials
    assert trials[0].state.name == "COMPLETE"
    assert any(not trial.state.is_finished() for trial in trials)
    summary = sweep(load_config("quickstart", words))
    assert (summary["trials"], summary["complete"]) == (4, 4)
    after = journal(Path("runs/small")).trials
    assert after[0] == trials[0]
    assert len({str(trial.user_attrs["runs"]) for trial in after}) == len(after) == 4


def test_a_torn_line_and_a_stale_lock_in_the_journal_do_no_harm(study, trained):
    sweep(study(*SPACE))
    path = Path("runs/small/study.journal").absolute()
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    (path.parent / "study.journal.lock").symlink_to(path)
    began = time.monotonic()
    assert sweep(study(*SPACE))["complete"] == 4
    assert sweep(study(*SPACE), retry_failed=True)["complete"] == 4
    assert len(trained) == 4
    assert time.monotonic() - began < 20  # Optuna waits 30 s for a lock that nobody releases


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sweep.space.seed=[0,1,2]", "sweep.space.seed=[0, 1], not [0, 1, 2]"),
        ("train.epochs=3", "train.epochs=2, not 3"),
        ("sweep.space.optimizer.lr=[1e-3]", "sweep.space.optimizer.lr=unset, not [0.001]"),
        ("sweep.metric=test/loss", "sweep.metric=test/accuracy, not test/loss"),
    ],
)
def test_a_name_that_another_study_has_is_refused(study, trained, change, words):
    sweep(study(*SPACE))
    with pytest.raises(ConfigError) as caught:
        sweep(study(*SPACE, change))
    assert str(caught.value) == (
        f"name: the study runs/small was started with {words}; give this one another name (name=...)"
    )
    assert len(trained) == 4


def test_what_does_not_change_a_result_may_change(study, trained):
    sweep(study(*SPACE))
    sweep(study(*SPACE, "sweep.plot.lines=[scheme.name]", "parallel.timeout=60"))
    assert len(trained) == 4


@pytest.mark.parametrize("found", ["the same", "others"])
def test_a_study_whose_data_folder_moved_goes_on_if_its_examples_are_the_same(study, trained, monkeypatch, found):
    seeds = []

    def data_of(config):
        seeds.append((config.seed, config.data.root))
        return found

    monkeypatch.setattr(moved, "beginnings", lambda _: [{"params": {}, "tags": {"data_digest": "the same"}}])
    monkeypatch.setattr(moved, "load_data", data_of)
    monkeypatch.setattr(moved, "digest", lambda data: data)
    sweep(study(*SPACE, "data.root=first"))
    ran = SimpleNamespace(user_attrs={"runs": {"1": "a-run"}, "point": {"scheme.name": "dfa", "seed": 1}}, params={})
    monkeypatch.setattr(studies.Study, "trials", lambda self, *states: [ran] if not states else [])
    again = study(*SPACE, "data.root=second")
    opened = partial(studies.Study, Path("runs/small"), again, Space(again))
    if found == "others":
        said = "data.root: the study runs/small was started with first, and second holds other examples"
        with pytest.raises(ConfigError, match=said):
            opened()
    else:
        opened()
        opened()  # it is the study's own now
    assert seeds == [(1, "second")]


def test_an_interrupted_run_reads_its_data_where_its_study_now_does(study, tmp_path):
    write_config(study("data.root=first"), tmp_path / "config.yaml")
    moved.move(tmp_path, study("data.root=second"))
    assert read_config(tmp_path)["data"]["root"] == "second"


def test_a_study_from_before_a_key_goes_on(study, trained, monkeypatch):
    settled = studies._settled
    older = {"train.average": "null", "data.easy_by": "data"}
    monkeypatch.setattr(
        studies, "_settled", lambda config: {k: v for k, v in settled(config).items() if k not in older}
    )
    sweep(study(*SPACE))
    monkeypatch.setattr(studies, "_settled", settled)
    sweep(study(*SPACE))
    assert len(trained) == 4
    with pytest.raises(ConfigError, match=r"was started with train.average=unset, not 0.9"):
        sweep(study(*SPACE, "train.average=0.9"))


def test_a_folder_that_is_no_study_is_left_alone(study, trained):
    Path("runs/small").mkdir(parents=True)
    Path("runs/small/config.yaml").touch()
    with pytest.raises(ConfigError, match="name: runs/small exists and is no study"):
        sweep(study(*SPACE))
    assert [entry.name for entry in Path("runs/small").iterdir()] == ["config.yaml"]


def test_a_study_that_is_being_run_is_refused(study, trained):
    with locked(Path("runs/small/lock")), pytest.raises(ConfigError, match="is being run by another process"):
        sweep(study(*SPACE))
    assert trained == []


@pytest.mark.live
@pytest.mark.timeout(180)
def test_trials_are_nested_under_their_study_in_mlflow_and_compared_on_demand(study):
    config = study(
        "tracking.uri=null",
        "tracking.experiment=nest",
        "name=nested",
        "sweep.space.scheme.name=[dfa]",
        "sweep.space.seed=[0,1]",
    )
    summary = sweep(config)
    rows = compare("runs", "nest", trials=True)
    assert [(row.group["scheme"], sorted(row.seeds)) for row in rows] == [("dfa", ["0", "1"])]
    assert rows[0].seeds["1"]["test/accuracy"] == summary["rows"][0].seeds["1"]["test/accuracy"]
    assert compare("runs", "nest") == []

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}")
    runs = client.search_runs([client.get_experiment_by_name("nest").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "study nested"]
    trials = [run for run in runs if run.info.run_name != "study nested"]
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert [run.data.tags["mlflow.parentRunId"] for run in trials] == [parent.info.run_id] * 2
    assert {artifact.path for artifact in client.list_artifacts(parent.info.run_id)} == {
        "results.csv",
        "results.png",
        "results.svg",
        "study.yaml",
        "trials.csv",
        "best.yaml",
        "inline",  # the pictures of its page
    }


@pytest.mark.parametrize(
    ("metric", "curriculum", "reason"),
    [
        ("curriculum/level", "0.15", None),
        ("curriculum/level", "null", "unknown metric 'curriculum/level'"),
        ("test/bits", "null", None),
        ("test/bit", "null", "unknown metric 'test/bit'; did you mean 'test/bits'?"),
    ],
)
def test_what_is_known_before_the_first_trial(tmp_path, monkeypatch, metric, curriculum, reason):
    """The level of a curriculum where there is one; further metrics of the task."""
    monkeypatch.chdir(tmp_path)
    config = load_config(
        "recurrent/copy",
        [
            "tracking.uri=off",
            "sweep.space.seed=[0]",
            f"sweep.metric={metric}",
            f"train.curriculum={curriculum}",
            "sweep.direction=minimize",
        ],
    )
    space = Space(config)
    if reason is None:
        check_study(config, space)
    else:
        with pytest.raises(ConfigError, match=f"seed=0: sweep.metric: {re.escape(reason)}"):
            check_study(config, space)


def test_a_study_whose_ray_died_says_how_it_goes_on_and_loses_no_trial(study, trained, monkeypatch):
    class Dying(Here):
        def next(self, judge):
            if len(trained) == 1:
                raise RunFailed("Ray died: the raylet")
            return super().next(judge)

    config = study("sweep.space.scheme.name=[cdni,dfa]")
    with monkeypatch.context() as patched:
        patched.setattr(driver, "make_runner", lambda config, space, runs, stop, imports: Dying(config, runs, stop))
        with pytest.raises(RunFailed, match=r"^Ray died: the raylet; go on with: unlocked sweep /.*study\.yaml$"):
            sweep(config)
    assert sweep(config)["complete"] == 2
    assert [each.scheme.name for each in trained] == ["cdni", "dfa"]
