"""The README's examples, run as they stand."""

import re
import sys
from pathlib import Path

import pytest

from unlocked.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\S+)\.py -->\n```python\n(.*?)```", README, re.S))
TRAIN = ["train", "quickstart", "train.epochs=2", "parallel.launcher=inprocess", "tracking.uri=off", "--quiet"]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Writes an example as a module of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name):
        (tmp_path / f"{name}.py").write_text(EXAMPLES[name])
        sys.modules.pop(name, None)
        return name

    return write


@pytest.mark.parametrize("name", ["my_model", "my_data", "my_scheme"])
def test_each_example_is_under_thirty_lines(name):
    assert len(EXAMPLES[name].strip().splitlines()) < 30


@pytest.mark.parametrize(
    ("name", "override"),
    [("my_model", "model.name=my_net"), ("my_data", "data.name=rings"), ("my_scheme", "scheme.name=drtp")],
)
def test_each_example_trains_by_the_command_beside_it(example, name, override, capsys):
    assert f"--import {name} {override}" in README
    assert main([*TRAIN, "--import", example(name), override]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_the_model_and_the_data_set_train_together(example, capsys):
    words = ["--import", example("my_model"), "--import", example("my_data"), "model.name=my_net", "data.name=rings"]
    assert main([*TRAIN, "train.epochs=1", *words]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_the_python_example_gives_a_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(from unlocked import load_config, train.*?)```", README, re.S)
    code = code.replace('"train.epochs=3"', '"train.epochs=1", "parallel.launcher=inprocess", "tracking.uri=off"')
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert 0.0 < names["summary"]["metrics"]["test/accuracy"] < 1.0


def test_every_command_the_readme_shows_is_one():
    commands = set(re.findall(r"^unlocked (\w+)", README, re.M)) | set(re.findall(r"`unlocked (\w+)", README))
    from unlocked.cli.main import build_parser

    known = build_parser()._subparsers._group_actions[0].choices
    assert commands - {"command"} <= set(known)
