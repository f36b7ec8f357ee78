"""A run and a study remember their modules and their folder: what is printed can be pasted anywhere."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from unlocked.cli.next_steps import command, looking
from unlocked.data import DATA
from unlocked.schema.keys import TrackingConfig
from unlocked_models import MODELS

OWN = '''
import numpy as np
from torch import nn
from remembered_width import WIDTH
from unlocked import RawData, register_data, register_model

@register_model("remembered")
def remembered(in_shape, n_outputs):
    return nn.Sequential(nn.Linear(in_shape[0], WIDTH), nn.Tanh(), nn.Linear(WIDTH, n_outputs))

@register_data("remembered_points")
def remembered_points(source):
    """Points above and below a line."""
    x = np.loadtxt(source.root / "points.txt")
    return RawData(x.astype("float32"), (x.sum(1) > 0).astype("int64"))
'''
CONFIG = """
name: own
data: {name: remembered_points, batch_size: 20, validation: 0.2}
model: {name: remembered}
scheme: {name: backprop}
train: {epochs: 2}
parallel: {engine: inprocess, threads: 1}
tracking: {uri: off, figures: false}
sweep: {metric: val/accuracy, sampler: random, trials: 2, space: {optimizer.lr: {low: 1e-4, high: 1e-2}}}
"""


@pytest.fixture
def project(unlocked, tmp_path, monkeypatch):
    """A folder with a model, data and a configuration; `elsewhere()` forgets the modules and goes to another one."""
    monkeypatch.delenv("UNLOCKED_DATA")
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "a project"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    np.savetxt(folder / "data" / "points.txt", np.random.default_rng(0).normal(size=(120, 6)))
    (folder / "remembered_width.py").write_text("WIDTH = 5")
    (folder / "remembered_own.py").write_text(OWN)
    (folder / "own.yaml").write_text(CONFIG)
    monkeypatch.chdir(folder)

    def elsewhere():
        for name in ("remembered_own", "remembered_width"):
            sys.modules.pop(name, None)
        MODELS._entries.pop("remembered", None)
        DATA._entries.pop("remembered_points", None)
        sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        monkeypatch.chdir(tmp_path / "elsewhere")

    yield type("Project", (), {"folder": folder, "elsewhere": staticmethod(elsewhere), "into": monkeypatch.chdir})
    elsewhere()


def paste(text, verb):
    """The words of the printed command that begins with `verb`."""
    (line,) = re.findall(rf"(unlocked {verb} .*)", text)
    return shlex.split(line)[1:]


def test_a_run_is_evaluated_and_resumed_from_another_folder_without_saying_more(unlocked, project, tmp_path):
    done = unlocked("train", "own.yaml", "--import", "remembered_own", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out.splitlines()[-1])
    run = project.folder / "runs" / summary["run"]
    assert f"run folder: {run}\n" in done.err
    project.elsewhere()
    evaluated = unlocked("evaluate", str(run), "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out.splitlines()[-1])["metrics"]["test/loss"] == summary["metrics"]["test/loss"]
    said, *table = evaluated.err.splitlines()
    assert said == f"unlocked: in {project.folder}, where {run.name} was begun"
    assert [line.split()[0] for line in table[:2]] == ["test/loss", "test/accuracy"]
    project.elsewhere()
    again = unlocked("train", "--resume", f"../{project.folder.name}/runs/{run.name}", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out.splitlines()[-1])["metrics"]["test/loss"] == summary["metrics"]["test/loss"]
    project.elsewhere()
    longer = unlocked("train", "--resume", str(run), "train.epochs=3")
    assert longer.code == 0, longer.err
    assert f"run folder: {run.parent}/own-" in longer.out
    assert Path.cwd() == tmp_path / "elsewhere"
    assert not any(Path.cwd().iterdir())


def test_a_strangers_run_has_no_module_imported(unlocked, project):
    assert unlocked("train", "own.yaml", "train.epochs=1", "--import", "./remembered_own.py").code == 0
    (run,) = (project.folder / "runs").iterdir()
    kept = json.loads((run / "needs.json").read_text())
    (run / "needs.json").write_text(json.dumps(kept | {"folder": "/tmp"}))
    project.elsewhere()
    for words in (
        ["train", "--resume", str(run)],
        ["evaluate", str(run)],
        ["generate", str(run)],
        ["train", str(run / "config.yaml")],
    ):
        done = unlocked(*words)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "was begun with '--import remembered_own' by another user" in done.err
    assert "remembered_own" not in sys.modules
    project.into(project.folder)
    assert unlocked("evaluate", str(run), "--import", "remembered_own").code == 0


def test_what_a_study_prints_can_be_pasted_anywhere(unlocked, project, tmp_path):
    study = [*shlex.split("sweep own.yaml name=found --import remembered_own"), "--plot", "here.png"]
    done = unlocked(*study)
    assert done.code == 0, done.err
    best = paste(done.out, "train")
    assert best == ["train", str(project.folder / "runs" / "found" / "best.yaml")]
    project.elsewhere()
    again = unlocked(*best)
    assert again.code == 0, again.err
    assert f"run folder: {project.folder / 'runs'}/" in again.out
    project.elsewhere()
    status = unlocked("sweep", "--status", str(project.folder / "runs" / "found"))
    assert status.code == 0, status.err
    assert "2 of 2 trials done" in status.out
    project.elsewhere()
    more = unlocked("sweep", str(project.folder / "runs" / "found" / "study.yaml"), "sweep.trials=3", "--plot", "p.png")
    assert more.code == 0, more.err
    assert "3 trials, 2 of them done before" in more.out
    assert (tmp_path / "elsewhere" / "p.png").is_file()


def test_an_interrupted_study_says_how_to_go_on_from_anywhere(unlocked, project):
    unlocked("sweep", "own.yaml", "name=open", "--import", "remembered_own")
    kept = project.folder / "runs" / "open" / "study.yaml"
    kept.write_text(kept.read_text().replace("trials: 2", "trials: 4"))
    project.elsewhere()
    status = unlocked("sweep", "--status", str(kept.parent))
    words = paste(status.out, "sweep")
    assert words == ["sweep", str(kept)]
    project.elsewhere()
    done = unlocked(*words)
    assert done.code == 0, done.err
    assert "4 trials, 2 of them done before" in done.out


def test_words_are_quoted_for_a_shell_and_paths_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shlex.split(command("train", Path("my runs/it's.yaml"))) == [
        "unlocked",
        "train",
        str(tmp_path / "my runs" / "it's.yaml"),
    ]


def test_where_runs_are_looked_at_depends_on_where_they_are_tracked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert looking(TrackingConfig(uri="off")) == ""
    runs = str(tmp_path / "runs")
    assert paste(looking(TrackingConfig(), "--trials"), "compare") == ["compare", "--trials", "--runs", runs]
    named = paste(looking(TrackingConfig(), "--trials", "--name", "lag"), "report")
    assert named == ["report", "lag", "--runs", runs]
    assert paste(looking(TrackingConfig()), "ui") == ["ui", "--runs", runs]
    assert looking(TrackingConfig(uri="http://ann:pw12345678@h:5000", runs="r")).splitlines() == [
        "compare: unlocked compare --uri 'http://***@h:5000'",
        "  report: unlocked report --uri 'http://***@h:5000'",
        "  dashboard: unlocked ui --uri 'http://***@h:5000'",
    ]
    assert f"--uri sqlite:///{tmp_path}/x.db" in looking(TrackingConfig(uri="sqlite:///x.db"))


def test_what_follows_a_run_links_to_the_view_of_its_experiment_and_to_its_page(tmp_path):
    run = tmp_path / "runs" / "run"
    (run / "tracking").mkdir(parents=True)
    (run / "tracking" / "mlflow.json").write_text('{"experiment_id": "3", "run_id": "abc"}')
    here = looking(TrackingConfig(runs=str(tmp_path / "runs")), folder=run)
    assert "results: http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning" in here
    assert "its page: http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning" in here
    far = looking(TrackingConfig(uri="http://ann:pw12345678@h:8080"), folder=run, view="trials")
    assert "trials: http://h:8080/#/experiments/3/runs?" in far
    assert "pw12345678" not in far
    (run / "tracking" / "mlflow.json").write_text("{")
    assert "its page" not in looking(TrackingConfig(), folder=run)
