"""`unlocked sweep` at the terminal."""

from __future__ import annotations

import json

STUDY = ["sweep", "quickstart", "name=small", "tracking.uri=off", "train.epochs=1", "parallel.launcher=inprocess",
         "parallel.threads=1", "sweep.metric=test/accuracy", "sweep.space.scheme.name=[frozen,dfa]",
         "sweep.space.seed=[0,1]"]


def test_a_study_prints_a_line_per_trial_and_a_table_and_ends_in_json(unlocked, tmp_path):
    done = unlocked(*STUDY, "--plot", "plots/here.png", "--json")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    (third,) = [line for line in lines if line.startswith("  3/4")]
    assert "scheme.name=dfa seed=0" in third
    assert "best 0." in third
    assert " dfa  left " in third
    assert "frozen (control)" in done.out
    assert (tmp_path / "plots" / "here.png").is_file()
    summary = json.loads(lines[-1])
    assert summary["complete"] == 4
    assert summary["best"]["group"] == {"scheme": "dfa"}
    again = unlocked(*STUDY)
    assert again.code == 0
    assert "4 trials, 4 of them done before" in again.out
    assert "3/4" not in again.out


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
