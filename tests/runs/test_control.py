"""What the frozen control reached, from the run folders beside a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlocked import train
from unlocked.runs.control import control_of


def folder(root, name, scheme, seed, value, setting="one"):
    path = root / name
    path.mkdir()
    metrics = {"test/accuracy": value, "test/loss": value}
    summary = {"scheme": scheme, "seed": seed, "setting": setting, "metrics": metrics}
    (path / "summary.json").write_text(json.dumps({key: each for key, each in summary.items() if each is not None}))
    return path


def test_it_is_the_mean_over_seeds_of_which_the_newest_counts(tmp_path):
    run = folder(tmp_path, "a-cdni-s0-20260101", "cdni", 0, 0.5)
    folder(tmp_path, "a-frozen-s0-20260101", "frozen", 0, 0.9)
    folder(tmp_path, "a-frozen-s0-20260102", "frozen", 0, 0.2)
    folder(tmp_path, "b-frozen-s1-20260101", "frozen", 1, 0.4)
    found = control_of(run, "test/accuracy")
    assert (found.value, found.seeds) == (pytest.approx(0.3), 2)
    assert found.beaten_by(0.31)
    assert not found.beaten_by(0.29)
    assert control_of(run, "test/loss").beaten_by(0.29)
    assert control_of(run, "test/bits") is None


def test_a_run_of_another_setting_or_one_that_never_ended_is_no_control(tmp_path):
    run = folder(tmp_path, "a-cdni-s0-20260101", "cdni", 0, 0.5)
    folder(tmp_path, "a-frozen-s0-20260101", "frozen", 0, 0.9, setting="another")
    folder(tmp_path, "a-frozen-s1-20260101", "frozen", 1, 0.9, setting=None)  # of an earlier version
    folder(tmp_path, "a-frozen-s3-20260101", "backprop", 3, 0.9)
    (tmp_path / "a-frozen-s4-20260101").mkdir()
    assert control_of(run, "test/accuracy") is None
    old = folder(tmp_path, "b-cdni-s0-20260101", "cdni", 0, 0.5, setting=None)
    assert control_of(old, "test/accuracy") is None


def test_a_setting_is_all_but_scheme_seed_and_rate(small):
    run = Path(train(small("scheme.name=cdni", "train.epochs=1"))["run_dir"])
    found = train(small("scheme.name=frozen", "train.epochs=1", "seed=3", "optimizer.lr=0.01"))
    train(small("scheme.name=frozen", "train.epochs=1", "seed=4", "data.batch_size=16"))
    control = control_of(run, "test/accuracy")
    assert (control.value, control.seeds) == (found["metrics"]["test/accuracy"], 1)
