"""A study says whether its best is better than the frozen control."""

from __future__ import annotations

import pytest

from unlocked import load_config
from unlocked.cli.sweep_control import against_control
from unlocked.comparing.rows import Row
from unlocked.runs.control import Control

METRIC = "val/accuracy"


def row(scheme, *values):
    return Row({"scheme": scheme}, {str(seed): {METRIC: value} for seed, value in enumerate(values)})


@pytest.fixture
def config(tmp_path):
    return load_config("quickstart", [f"sweep.metric={METRIC}", f"tracking.runs={tmp_path}"])


def grid(mean, *control):
    return {"best": {"group": {"scheme": "cdni"}, "mean": mean}, "rows": [row("cdni", mean), row("frozen", *control)]}


def test_a_control_that_is_better_than_the_best_is_said(config):
    said = against_control(config, grid(0.5, 0.6, 0.8))
    assert said.startswith("control: frozen reached val/accuracy 0.7000 (2 seeds): the best, 0.5000, is NO better; ")


def test_the_best_is_better_by_so_much(config):
    assert against_control(config, grid(0.9, 0.6)) == (
        "control: frozen reached val/accuracy 0.6000 (one seed); the best, 0.9000, is better by 0.3000"
    )


def test_a_search_is_held_against_runs_beside_it(config, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "unlocked.cli.sweep_control.control_of",
        lambda run, metric: asked.append((run, metric)) or Control(metric, 0.7, 3),
    )
    best = {"trial": 3, "params": {"optimizer.lr": 0.1}, "value": 0.5, "runs": ["s-cdni-s0"]}
    assert "NO better" in against_control(config, {"best": best, "rows": []})
    assert asked == [(tmp_path / "s-cdni-s0", METRIC)]


@pytest.mark.parametrize(
    "summary",
    [
        {"best": None, "rows": []},
        {"best": {"group": {"scheme": "cdni"}, "mean": 0.5}, "rows": [row("cdni", 0.5)]},
        {"best": {"group": {"scheme": "frozen"}, "mean": 0.5}, "rows": [row("frozen", 0.5)]},
    ],
)
def test_without_a_control_nothing_is_said(config, summary):
    assert against_control(config, summary) == ""
