"""The tutorial notebook: its code, cell after cell, in an empty folder; what it shows is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlocked_models import MODELS

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "tutorial.ipynb"


def cells() -> list[str]:
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_every_cell_of_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))
    names: dict = {"__name__": "tutorial"}
    for i, code in enumerate(cells()):
        fast = code.replace("train.epochs=20", "train.epochs=1").replace('"train.ep', '"parallel.threads=1", "train.ep')
        exec(compile(fast, f"{NOTEBOOK.name}, cell {i}", "exec"), names)
    run, study = names["run"], names["study"]
    assert 0 < run.metrics["test/accuracy"] < 1
    assert dict(run) == json.loads((run.folder / "summary.json").read_text())
    assert run.figure("learning_curves")._repr_png_().startswith(b"\x89PNG")
    assert run.history()["val/accuracy"].count() == 1
    assert study.frame()["test/accuracy"].count() == 4
    assert "epoch 1" in capsys.readouterr().out


def test_the_notebook_holds_no_outputs_and_is_one():
    whole = json.loads(NOTEBOOK.read_text())
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in whole["cells"])
    pytest.importorskip("nbformat").validate(pytest.importorskip("nbformat").from_dict(whole))
