"""What `train` gives back: a mapping as before, and an object with what one asks next."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unlocked import Run, train
from unlocked.errors import ConfigError
from unlocked.runs.result import Picture


def test_the_summary_is_a_mapping_and_an_object(small):
    run = train(small("train.epochs=1", "tracking.figures=true"))
    assert isinstance(run, dict)
    assert run["metrics"]["test/accuracy"] == run.metrics["test/accuracy"]
    assert json.loads(json.dumps(run)) == json.loads((run.folder / "summary.json").read_text())
    assert Run.of(run["run_dir"]) == run
    assert run.history()["train/loss"].notna().any()
    assert run.figures() == sorted(path.stem for path in (run.folder / "figures").glob("*.png"))
    assert Path(os.fspath(run.figure("learning_curves"))).is_file()
    with pytest.raises(ConfigError, match="unknown figure 'lerning_curves'; did you mean 'learning_curves'"):
        run.figure("lerning_curves")
    assert len(run.model()) > 1
    assert "test/accuracy" in run._repr_html_()
    assert isinstance(run.figure("learning_curves"), Picture)


def test_a_folder_in_which_no_run_has_finished_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no run has finished there \(no summary.json\)"):
        Run.of(tmp_path)
    (tmp_path / "summary.json").write_text('{"metrics": 1}')
    with pytest.raises(ConfigError, match=r"summary.json: is damaged"):
        Run.of(tmp_path)
