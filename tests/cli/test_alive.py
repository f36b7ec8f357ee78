"""A sign of life before anything takes time, and JSON that stands alone on standard output."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from unlocked.cli.alive import Alive
from unlocked.cli.main import main
from unlocked.cli.terminal import Output, json_alone, print_json

CLI = Path(__file__).parents[2] / "platform" / "unlocked" / "cli"
SMALL = ["parallel.engine=inprocess", "parallel.threads=1", "tracking.uri=off", "tracking.figures=false"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_command_line_is_there_before_torch():
    code = (
        "import sys; from unlocked.cli.main import build_parser; build_parser(); "
        "print({'torch', 'mlflow', 'ray', 'optuna', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


def test_on_a_terminal_it_is_one_line_that_makes_room_for_what_comes(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", Output(shown))
    monkeypatch.setenv("TERM", "xterm")
    with Alive() as alive:
        alive.say("loading data: digits")
        alive.say("starting 2 workers")
        print("the run")
    assert shown.getvalue() == "loading data: digits ...\r\x1b[2Kstarting 2 workers ...\r\x1b[2Kthe run\n"


def test_in_a_pipe_it_is_a_line_each_and_where_only_results_count_nothing(capsys):
    for lines in (True, False):
        with Alive(lines=lines) as alive:
            alive.say("loading data: digits")
            alive.say("loading data: digits")
    assert capsys.readouterr().out == "loading data: digits ...\n"


def test_a_run_says_what_it_is_at(unlocked):
    done = unlocked("train", "quickstart", *SMALL, "train.epochs=1")
    assert done.code == 0, done.err
    first, second, third, *_ = done.out.splitlines()
    assert (first, second) == ("importing PyTorch ...", "loading data: digits ...")
    assert third.startswith("quickstart: mlp on digits under cdni")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "quickstart", *SMALL, "train.epochs=1"),
        ("train", "quickstart", "--print-config"),
        ("train", "quickstart", "--dry-run"),
        ("sweep", "quickstart", "sweep.space.seed=[0,1]", "--dry-run"),
        ("cluster", "down"),
        ("list", "engines"),
    ],
)
def test_json_stands_alone_on_standard_output(unlocked, words):
    done = unlocked(*words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)
    assert "\n" not in done.out.rstrip("\n")


def test_what_is_printed_beside_json_goes_to_standard_error(capsys):
    with json_alone(True):
        print("a table")
        print_json({"a": 1})
    with json_alone(False):
        print("a table")
    assert capsys.readouterr() == ('{"a": 1}\na table\n', "a table\n")


def test_every_command_prints_its_json_by_print_json():
    for path in CLI.glob("*.py"):
        calls = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printed = [call for call in calls if call.startswith("print(strict_json")]
        assert path.name == "terminal.py" or printed == [], f"{path.name}: print_json(...) instead"


def test_a_wrong_word_leaves_standard_output_empty_under_json(capsys):
    assert main(["train", "quickstart", "optimizer.lrr=1", "--json"]) == 2
    assert capsys.readouterr().out == ""
