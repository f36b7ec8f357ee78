"""A run remembers the modules and the folder that it was begun with, and follows no such word of a stranger's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from unlocked.errors import ConfigError
from unlocked.plugins import import_modules
from unlocked.runs.needs import FILE, VARIABLE, Needs, began_in, bring, keep_needs, where_it_began


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder of a run that was begun with a module of the folder `project`; the module is forgotten again."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    project = tmp_path / "project"
    place = project / "runs" / "one"
    place.mkdir(parents=True)
    (project / "needed_here.py").write_text("VALUE = 1")
    monkeypatch.chdir(project)
    keep_needs(place, import_modules([str(project / "needed_here.py")]))
    monkeypatch.chdir(tmp_path)

    def forget():
        sys.modules.pop("needed_here", None)
        sys.path[:] = [entry for entry in sys.path if entry != str(project)]

    forget()
    yield place
    forget()


def test_a_run_brings_its_module_along_from_any_folder(run):
    assert bring(run) == ["needed_here"]
    assert sys.modules["needed_here"].VALUE == 1


def test_a_run_is_gone_on_with_in_the_folder_where_it_began(run, tmp_path):
    with where_it_began(run) as folder:
        assert folder == tmp_path / "project"
        assert Path.cwd() == folder
    assert Path.cwd() == tmp_path


def test_a_run_that_was_moved_is_gone_on_with_here_but_knows_its_module(run, tmp_path):
    moved = run.rename(tmp_path / "moved")
    assert began_in(moved) is None
    assert bring(moved) == ["needed_here"]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("signature"),
        lambda value: value["imports"].append({"name": "os", "folder": None}),
        lambda value: value.update(folder="/tmp"),
        lambda value: value["imports"][0].update(folder="/tmp"),
    ],
)
def test_on_a_strangers_word_nothing_is_imported_and_no_folder_entered(run, change):
    value = json.loads((run / FILE).read_text())
    change(value)
    (run / FILE).write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=r"was begun with '--import needed_here.*by another user") as refused:
        bring(run)
    assert "\n" not in str(refused.value)
    assert "needed_here" not in sys.modules
    assert began_in(run) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"imports": 3}', '{"folder": 1, "imports": [1]}', "\x00", "null", "[1]", "\xff"]
)
def test_a_file_that_says_nothing_is_passed_over(run, text):
    (run / FILE).write_bytes(text.encode("latin-1"))
    assert bring(run) == []
    assert began_in(run) is None


def test_what_is_given_stands_for_what_a_stranger_names(run, tmp_path, monkeypatch):
    value = json.loads((run / FILE).read_text())
    del value["signature"]
    (run / FILE).write_text(json.dumps(value))
    assert bring(run, ["other"]) == ["other"]


def test_a_module_that_is_gone_is_one_line_with_the_way_out(run):
    os.remove(run.parents[1] / "needed_here.py")
    with pytest.raises(
        ConfigError,
        match=r"one: needs the module needed_here, which was in .*project \(--import "
        r"needed_here\): ModuleNotFoundError",
    ):
        bring(run)
    assert bring(run, ["renamed"]) == ["renamed"]


def test_a_job_keeps_what_it_was_submitted_from(run, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, Needs(str(tmp_path), []).words())
    keep_needs(run, [])
    assert began_in(run) == tmp_path


def test_without_a_home_for_the_key_a_run_begins_all_the_same(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    keep_needs(run, ["needed_here"])
    with pytest.raises(ConfigError, match="by another user or on another machine"):
        bring(run)
