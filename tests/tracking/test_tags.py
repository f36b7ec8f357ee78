from __future__ import annotations

import subprocess
from pathlib import Path

from unlocked.tracking import collect_tags, flatten


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.check_output(command, cwd=folder, text=True, timeout=20).strip()


def test_the_commit_is_told_and_whether_the_tree_had_changed(tmp_path: Path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = collect_tags(source=tmp_path)
    assert (clean["git.commit"], clean["git.dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), "false")
    (tmp_path / "a.py").write_text("2")
    assert collect_tags(source=tmp_path)["git.dirty"] == "true"


def test_outside_a_repository_the_other_tags_remain(tmp_path: Path):
    tags = collect_tags(device="cpu", source=tmp_path)
    assert "git.commit" not in tags
    assert tags["device"] == "cpu"
    assert {"version.torch", "version.python", "version.mlflow", "platform"} <= set(tags)


def test_environment_variables_are_never_tags(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    assert "hunter2" not in str(collect_tags(source=tmp_path))


def test_a_nested_configuration_flattens_to_dotted_params():
    phases = [{"lr": 1}, {"lr": 2}]
    config = {"scheme": {"name": "cdni", "sg": {"hidden": [128]}}, "amp": True, "phases": phases, "x": {}}
    assert flatten(config) == {
        "scheme.name": "cdni", "scheme.sg.hidden": "[128]", "amp": "true",
        "phases.0.lr": "1", "phases.1.lr": "2", "x": "{}",
    }  # fmt: skip
