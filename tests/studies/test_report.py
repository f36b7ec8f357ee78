"""What a search found: the best of its trials, within constraints, the front of several metrics, plots."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from unlocked import load_config, sweep, train
from unlocked.comparing.table import render


def test_several_metrics_have_a_front(search, hill, drawn):
    summary = sweep(search("sweep.trials=12", "sweep.metric=[val/accuracy, time/steps_per_second]"))
    assert summary["best"] is None
    front = {entry["trial"]: entry["values"] for entry in summary["pareto"]}
    others = [(1 - abs(math.log10(c.optimizer.lr) + 2) / 4, 1 / c.optimizer.lr) for c in hill]
    for number, values in front.items():
        assert not any(a > values[0] and b > values[1] for a, b in others), number
    assert {path.name for path in (Path(summary["study_dir"]) / "pareto").iterdir()} == {
        f"trial-{number:04d}.yaml" for number in front
    }
    assert {path.name for path in (Path(summary["study_dir"]) / "plots").glob("pareto.*")} == {
        "pareto.png",
        "pareto.svg",
    }


def test_a_trial_beyond_its_constraints_is_never_the_best(search, hill, trials_of):
    free = sweep(search("sweep.trials=12", "name=free"))
    hill.clear()
    bound = sweep(search("sweep.trials=12", "sweep.constraints={time/steps_per_second: {min: 500}}"))
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
def test_where_nothing_is_within_the_constraints_nothing_is_the_best(search, hill, overrides):
    trials = [] if overrides else ["sweep.trials=3"]
    summary = sweep(search(*trials, *overrides, "sweep.constraints={time/steps_per_second: {min: 1e9}}"))
    assert summary["complete"] == len(hill)
    assert summary["best"] is None


def test_the_best_of_a_search_may_be_a_frozen_one(search, hill, heard):
    points = "sweep.enqueue=[{optimizer.lr: 0.01, scheme.name: frozen}, {optimizer.lr: 0.5, scheme.name: cdni}]"
    summary = sweep(search("sweep.trials=2", "sweep.space.scheme.name=[frozen, cdni]", points), watcher=heard)
    assert heard.best == ["1.0000 trial 0"] * 2
    assert [row.group["trial"] for row in summary["rows"]] == ["0", "1"]


def test_the_plots_of_a_search_are_pictures_and_pages(search, drawn, width):
    summary = sweep(search("sweep.trials=6", width, "sweep.pruner=median"))
    plots = Path(summary["study_dir"]) / "plots"
    names = {"history", "importances", "slices", "contours", "parallel coordinates", "intermediate values"}
    assert {path.stem for path in plots.glob("*.png")} == names
    assert {path.stem for path in plots.glob("*.svg")} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.glob("*.png"))
    page = (plots / "study.html").read_text()
    assert [path.name for path in plots.glob("*.html")] == ["study.html"]  # which needs no other file
    assert page.count("Plotly.newPlot(") == 6
    assert "<script src" not in page
    assert '<script charset="utf-8" src' not in page


def test_the_best_configuration_trains_to_the_very_metric_of_its_trial(search):
    summary = sweep(search("sweep.sampler=tpe", "sweep.trials=3", "train.epochs=1", "sweep.repeats=2"))
    again = train(load_config(summary["best_config"]))
    row = next(row for row in summary["rows"] if row.group["trial"] == str(summary["best"]["trial"]))
    assert again["metrics"]["val/accuracy"] == row.seeds["0"]["val/accuracy"]
    assert again["metrics"]["test/loss"] == row.seeds["0"]["test/loss"]
