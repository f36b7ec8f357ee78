"""What the frozen control reached, from the run folders beside a run."""

from __future__ import annotations

import json

import pytest
import yaml

from unlocked.runs.control import control_of


def folder(root, name, summary=None, **changes):
    config = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "task": None, "train": {"epochs": 2}}
    path = root / name
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(config | changes))
    if summary is not None:
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def result(seed, value, scheme="frozen"):
    return {"scheme": scheme, "seed": seed, "metrics": {"test/accuracy": value, "test/loss": value}}


def test_it_is_the_mean_over_seeds_of_which_the_newest_counts(tmp_path):
    run = folder(tmp_path, "a-cdni-s0-20260101", scheme={"name": "cdni"})
    folder(tmp_path, "a-frozen-s0-20260101", result(0, 0.9))
    folder(tmp_path, "a-frozen-s0-20260102", result(0, 0.2), scheme={"name": "frozen"}, optimizer={"lr": 1.0})
    folder(tmp_path, "b-frozen-s1-20260101", result(1, 0.4))
    found = control_of(run, "test/accuracy")
    assert (found.value, found.seeds) == (pytest.approx(0.3), 2)
    assert found.beaten_by(0.31)
    assert not found.beaten_by(0.29)
    assert control_of(run, "test/loss").beaten_by(0.29)
    assert control_of(run, "test/bits") is None


def test_a_run_of_another_configuration_or_one_that_never_ended_is_no_control(tmp_path):
    run = folder(tmp_path, "a-cdni-s0-20260101")
    folder(tmp_path, "a-frozen-s0-20260101", result(0, 0.9), train={"epochs": 3})
    folder(tmp_path, "a-frozen-s1-20260101", result(1, 0.9), model={"name": "mlp", "hidden": [3]})
    folder(tmp_path, "a-frozen-s2-20260101")
    folder(tmp_path, "a-frozen-s3-20260101", result(3, 0.9, scheme="backprop"))
    (tmp_path / "a-frozen-s4-20260101").mkdir()
    assert control_of(run, "test/accuracy") is None
