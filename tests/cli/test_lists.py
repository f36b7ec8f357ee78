"""`unlocked list`: what is there, each with whole sentences of its own."""

from __future__ import annotations

import json

import pytest

from unlocked.cli.lists import _first_lines
from unlocked.cli.main import main


@pytest.mark.parametrize("what", ["data", "tasks", "transforms", "engines", "schemes"])
def test_each_is_described_in_whole_sentences(what, capsys):
    assert main(["list", what, "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert row["what"][-1:] == ".", row


def test_what_says_nothing_does_not_repeat_its_base():
    class Base:
        """What it derives from."""

    assert _first_lines(Base) == "What it derives from."
    assert _first_lines(type("Silent", (Base,), {})) == ""


def test_optimisers_are_listed_with_their_options(capsys):
    assert main(["list", "optimizers", "--json"]) == 0
    found = {row["optimizer"]: row["options"] for row in json.loads(capsys.readouterr().out)}
    assert found["sgd"] == "optimizer.weight_decay, optimizer.momentum, optimizer.nesterov, optimizer.dampening"


def test_losses_and_metrics_are_listed_by_what_outputs_stand_for(capsys):
    assert main(["list", "losses", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    found = {(row["of"], row["loss"]): row["options"] for row in rows}
    assert all(row["what"] for row in rows)  # its equation
    assert found["values", "huber"] == "objective.delta"
    assert found["values", "mse"] == ""
    assert found["classes", "hinge"] == "objective.class_weights"
    assert main(["list", "metrics", "--json"]) == 0
    assert {"classes", "labels", "values"} <= {row["of"] for row in json.loads(capsys.readouterr().out)}


def test_a_study_shows_no_value_that_its_trials_change(capsys, monkeypatch):
    monkeypatch.setattr("unlocked.config.presets", lambda: ["quickstart", "studies/depth", "studies/graph"])
    assert main(["list", "presets", "--json"]) == 0
    rows = {row.pop("preset"): row for row in json.loads(capsys.readouterr().out)}
    assert set(rows["studies/graph"].values()) == {"several"}
    depth = rows["studies/depth"]
    assert (depth["data"], depth["scheme"], depth["modules"]) == ("mnist1d", "several", "several")
    assert rows["quickstart"] == {"data": "digits", "model": "mlp", "scheme": "cdni", "modules": 2}
