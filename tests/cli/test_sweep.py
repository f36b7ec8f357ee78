"""`unlocked sweep` at the terminal."""

from __future__ import annotations

import json

from unlocked import load_config
from unlocked.cli.sweep_display import Display

STUDY = [
    "sweep",
    "quickstart",
    "name=small",
    "tracking.uri=off",
    "tracking.figures=false",
    "train.epochs=1",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "sweep.metric=test/accuracy",
    "sweep.space.scheme.name=[frozen,dfa]",
    "sweep.space.seed=[0,1]",
]


def test_a_study_prints_a_line_per_trial_and_a_table_and_ends_in_json(unlocked, tmp_path):
    done = unlocked(*STUDY, "--plot", "plots/here.png", "--json")
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    (third,) = [line for line in lines if line.startswith("  3/4")]
    assert "scheme.name=dfa seed=0" in third
    assert "best 0." in third
    assert " dfa  left " in third
    assert "frozen (control)" in done.err
    assert "control: frozen reached test/accuracy" in done.err
    assert (tmp_path / "plots" / "here.png").is_file()
    summary = json.loads(done.out)
    assert summary["complete"] == 4
    assert summary["best"]["group"] == {"scheme": "dfa"}
    again = unlocked(*STUDY)
    assert again.code == 0
    assert "4 trials, 4 of them done before" in again.out
    assert "3/4" not in again.out


def test_the_printed_command_shows_the_trials_of_this_study_alone(unlocked, monkeypatch, tmp_path):
    done = {"trials": 4, "complete": 4, "pruned": 0, "failed": [], "rows": [], "study_dir": "s"}
    monkeypatch.setattr("unlocked.studies.sweep", lambda config, **_: done)
    told = unlocked(*[word for word in STUDY if word != "tracking.uri=off"]).out  # in the experiment of every run
    assert f"compare: unlocked compare --trials --name small --runs {tmp_path}/runs" in told


def test_a_plot_that_cannot_be_put_there_is_said_before_anything_starts(unlocked, tmp_path):
    for place, why in ((".", "is a folder"), ("x.foo", "does not end in .png")):
        done = unlocked(*STUDY, "--plot", place)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"--plot: {place} {why}" in done.err
    assert not any(tmp_path.iterdir())


def test_a_dry_run_lists_the_trials_and_starts_nothing(unlocked, tmp_path):
    done = unlocked(*STUDY, "--dry-run")
    assert done.code == 0
    assert done.out.splitlines()[0].strip() == "scheme.name=frozen seed=0"
    assert done.out.splitlines()[-1].startswith("4 trials")
    assert not any(tmp_path.iterdir())


def test_a_wrong_space_exits_with_2_and_starts_nothing(unlocked, tmp_path):
    done = unlocked(*STUDY, "sweep.space.optimizer.lrr=[1]")
    assert done.code == 2
    assert done.err.startswith("unlocked: sweep.space.optimizer.lrr: optimizer.lrr: unknown key; did you mean 'lr'?")
    assert done.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_study_of_which_every_trial_fails_exits_with_1(unlocked):
    done = unlocked(*STUDY[:-2], "sweep.space.optimizer.lr=[1e30]", "optimizer.name=sgd")
    assert done.code == 1
    assert "failed: the loss became NaN or infinite" in done.out
    assert "sweep: all 1 trials failed" in done.err


SEARCH = [
    "sweep",
    "quickstart",
    "tracking.uri=off",
    "tracking.figures=false",
    "train.epochs=1",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "data.validation=0.2",
    "sweep.sampler=random",
    "sweep.trials=3",
    "sweep.space.optimizer.lr={low: 1e-4, high: 0.1, log: true}",
]


def test_a_search_shows_its_best_and_how_to_train_it_again(unlocked, tmp_path):
    done = unlocked(*SEARCH, "name=small", "--json")
    assert done.code == 0, done.err
    assert "best 0." in next(line for line in done.err.splitlines() if line.startswith("  3/3"))
    assert f"best config: {tmp_path}/runs/small/best.yaml" in done.err
    summary = json.loads(done.out)
    best = max(summary["rows"], key=lambda row: row["seeds"]["0"]["val/accuracy"])
    assert best["group"]["trial"] == str(summary["best"]["trial"])
    again = unlocked("train", "runs/small/best.yaml", "--json")
    assert json.loads(again.out.splitlines()[-1])["metrics"]["val/accuracy"] == summary["best"]["value"]

    status = unlocked("sweep", "--status", "small")
    assert status.code == 0
    assert "small: 3 of 3 trials done: 3 complete, 0 pruned, 0 failed; 0 running, 0 waiting" in status.out
    more = unlocked(*SEARCH[:-2], "sweep.trials=5", SEARCH[-1], "name=small", "--resume", "--quiet")
    assert more.code == 0, more.err
    assert "of 5 trials" in unlocked("sweep", "--status", "runs/small").out


def test_a_study_without_a_complete_trial_is_no_failure_unless_all_failed(unlocked):
    pruner = "sweep.pruner={name: ThresholdPruner, lower: 2}"
    done = unlocked(*SEARCH, "name=pruned", "train.epochs=2", pruner)
    assert done.code == 0, done.err
    assert "no trial is complete" in done.out
    assert "3 of 3 trials were ended early" in done.out
    late = unlocked(*SEARCH, "name=late", "sweep.hours=1e-9")
    assert late.code == 0, late.err
    assert "no trial is complete" in late.out


def test_a_trial_that_is_tried_again_leaves_the_live_table(capsys):
    display = Display(load_config("quickstart"))
    display.began(0, "seed=0")
    assert display._table().renderables[0].row_count == 1
    display.retried(0, "trial 0: its process died; it is tried again")
    assert display._table().renderables[0].row_count == 0
    assert "it is tried again" in capsys.readouterr().out


def test_searches_are_compared_by_sampler(unlocked, tmp_path):
    for seed in (0, 1):
        assert unlocked(*SEARCH, f"name=r{seed}", f"seed={seed}", "--quiet").code == 0
    done = unlocked("sweep", "--compare", "r0", "r1", "--plot", "curves.png", "--json")
    assert done.code == 0, done.err
    assert "after 3 trials" in done.err
    searches = json.loads(done.out)
    assert [search["label"] for search in searches] == ["random", "random"]
    for search in searches:
        assert search["best"] == sorted(search["best"])
        assert search["steps"] == [17, 34, 51]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"there is no study r2 in {tmp_path}/runs (known: r0, r1)" in unlocked("sweep", "--compare", "r0", "r2").err


def test_a_dry_run_of_a_search_tells_what_is_searched(unlocked, tmp_path):
    done = unlocked(*SEARCH, "sweep.space.scheme.lag={choice: [1, 4], when: {scheme.name: cdni}}", "--dry-run")
    assert done.code == 0, done.err
    assert [line.strip() for line in done.out.splitlines()] == [
        "optimizer.lr: 0.0001 to 0.1, logarithmic",
        "scheme.lag: 1, 4 where scheme.name in [cdni]",
        "3 trials by random, each of 1 epochs unless its choices say otherwise",
    ]
    assert not any(tmp_path.iterdir())


def test_without_a_configuration_or_a_study_there_is_one_line(unlocked, tmp_path):
    assert "config: a preset's name or a path is needed" in unlocked("sweep").err
    assert (
        f"there is no study gone in {tmp_path}/runs (known: none); give its folder, or the folder that it lies in "
        "by --runs\n"
    ) in unlocked("sweep", "--status", "gone").err
    assert "--resume: there is no study runs/small to go on with" in unlocked(*SEARCH, "name=small", "--resume").err
