"""What every command prints, and that the dry ones start nothing."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest
import yaml

from unlocked.cli import lists
from unlocked.cli.parser import build_parser

IN_PROCESS = ["parallel.engine=inprocess", "parallel.threads=1", "tracking.uri=off", "train.epochs=2"]


@functools.cache
def once(what):
    """Presets, each of which is read, take seconds."""
    return lists._LISTS[what]()


COMMANDS = [
    "data",
    "train",
    "sweep",
    "evaluate",
    "compare",
    "list",
    "ui",
    "doctor",
    "cluster",
    "submit",
    "jobs",
    "queue",
    "logs",
    "stop",
    "keys",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(unlocked, command):
    done = unlocked(command, "--help")
    assert done.code == 0
    assert "examples:" in done.out
    assert f"unlocked {command}" in done.out.partition("examples:")[2]


def test_help_has_every_command_in_a_group_that_fits_80_columns(unlocked):
    top = unlocked("--help")
    assert (top.code, top.err) == (0, "")
    assert unlocked("help") == top
    assert "\nmore:\n" not in top.out  # a new command: give it a group in cli/parser.py
    assert all(f"\n  {command:<12}" in top.out for command in COMMANDS)
    assert max(map(len, top.out.splitlines())) <= 80


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "keys"])
def test_the_help_of_a_command_is_read_on_two_screens(unlocked, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert unlocked("help", command).out.count("\n") < 100
    assert unlocked("help", command) == unlocked(command, "--help")


def test_keys_are_explained_by_group_by_name_and_all_at_once(unlocked, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    overview, group, name = unlocked("keys"), unlocked("help", "keys", "feedbak"), unlocked("keys", "patience")
    for key in ("batch_size", "feedback.granularity", "max_failures", "probe_every", "experiment"):
        assert f"{key}," in overview.out, key
    assert group.err.startswith("unlocked: keys: no group or key 'feedbak'; did you mean 'scheme.feedback'?")
    assert "train.patience: null  # int | None\n    stop after this many evaluations without" in name.out
    assert max(len(line) for done in (overview, name) for line in done.out.splitlines()) <= 100
    every = json.loads(unlocked("keys", "all", "--json").out)
    assert {"name": "train.epochs", "type": "int"}.items() <= next(
        k for k in every if k["name"] == "train.epochs"
    ).items()
    assert every == json.loads(unlocked("keys", "--json").out)


def test_print_config_gives_yaml_that_trains_to_the_same(unlocked, tmp_path):
    done = unlocked("train", "quickstart", "scheme.name=dfa", "--print-config")
    assert done.code == 0
    assert yaml.safe_load(done.out)["scheme"]["name"] == "dfa"
    (tmp_path / "again.yaml").write_text(done.out)
    assert unlocked("train", "again.yaml", "--print-config").out == done.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.timeout(60)
def test_a_dry_run_shows_every_module_and_never_imports_ray(tmp_path):
    code = (
        "import sys; from unlocked.cli.main import build_parser, main; build_parser(); "
        "assert 'unlocked.schemes' not in sys.modules; "  # a command that reads no configuration starts sooner
        "code = main(['train', 'quickstart', 'parallel.modules=4', 'parallel.partition=null', '--dry-run']); "
        "assert 'ray' not in sys.modules; assert 'mlflow' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for place in ("worker 0", "worker 1", "worker 2", "worker 3"):
        assert place in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_m_and_i_and_counts_one_as_one(unlocked):
    done = unlocked("train", "quickstart", "scheme.name=dni", "scheme.synthetic_inputs=true", "--dry-run")
    assert done.code == 0, done.err
    assert "2 modules x 1 replica, " in done.out
    assert "sg params" in done.out
    assert "inputs params" in done.out


def test_json_ends_with_one_line_that_holds_the_run(unlocked, tmp_path):
    done = unlocked("train", "quickstart", *IN_PROCESS, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out.splitlines()[-1])
    assert (tmp_path / "runs" / summary["run"] / "summary.json").exists()
    assert (tmp_path / "runs" / summary["run"] / "figures" / "learning_curves.png").exists()
    assert summary["metrics"]["test/accuracy"] > 0.2
    assert summary["steps"] == summary["epochs"] * 20 == 40
    assert summary["steps_per_second"] > 0
    assert 0 < summary["seconds_to_first_step"] <= summary["seconds"]
    evaluated = unlocked("evaluate", summary["run_dir"], "--json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out.splitlines()[-1])["metrics"]["test/loss"] == summary["metrics"]["test/loss"]


def test_a_finished_run_resumes_to_itself_and_says_so(unlocked, tmp_path, monkeypatch):
    words = ["train", "quickstart", *IN_PROCESS, "tracking.figures=false", "--json"]
    first = json.loads(unlocked(*words).out.splitlines()[-1])
    assert not (tmp_path / "runs" / first["run"] / "figures").exists()
    monkeypatch.chdir(tmp_path.parent)
    done = unlocked("train", "--resume", str(tmp_path / first["run_dir"]), "--json")
    again = json.loads(done.out.splitlines()[-1])
    assert f"  {tmp_path / first['run_dir']}\n" in done.err
    assert "it had finished its 2 epochs: tested again, nothing was trained; with a higher train.epochs=N" in done.err
    assert again["steps"] == first["steps"]
    assert again["metrics"]["test/loss"] == first["metrics"]["test/loss"]


def test_a_finished_run_is_trained_longer_as_a_new_run(unlocked, tmp_path):
    words = ["train", "quickstart", *IN_PROCESS, "tracking.figures=false", "optimizer.schedule=constant", "--json"]
    first, whole = (json.loads(unlocked(*words, f"train.epochs={n}").out.splitlines()[-1]) for n in (1, 2))
    shown = unlocked("train", "--resume", first["run_dir"], "train.epochs=2", "--dry-run")
    assert "20 steps per epoch, 40 steps" in shown.out, shown.err
    assert "epochs: 2" in unlocked("train", "--resume", first["run_dir"], "train.epochs=2", "--print-config").out
    assert len(list((tmp_path / "runs").iterdir())) == 2  # looking made no run
    done = unlocked("train", "--resume", first["run_dir"], "train.epochs=2", "--json")
    assert done.code == 0, done.err
    assert f"a new run of 2 epochs that goes on from {tmp_path}/{first['run_dir']}, which stays as it is" in done.err
    longer = json.loads(done.out.splitlines()[-1])
    assert longer["run"] != first["run"]
    assert longer["metrics"]["test/loss"] == whole["metrics"]["test/loss"]
    refused = unlocked("train", "--resume", first["run_dir"], "seed=2")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("what", ["families", "models", "schemes", "data", "transforms", "tasks", "presets"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_list_fits_the_terminal_and_cuts_no_name(unlocked, monkeypatch, what, width):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = once(what)
    monkeypatch.setitem(lists._LISTS, what, lambda: rows)
    shown = unlocked("list", what)
    assert shown.code == 0
    assert json.loads(unlocked("list", what, "--json").out) == rows
    lines = shown.out.splitlines()
    words = {word for line in lines for word in line.split()}
    assert {str(next(iter(row.values()))) for row in rows} <= words
    assert "…" not in shown.out
    assert all(len(line) <= width or len(line.split()) <= 2 for line in lines if width >= 80)  # an address


def test_the_entry_of_a_data_set_has_its_options_as_they_are_written(unlocked, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [row for row in once("data") if row["data"] in ("digits", "brown")]
    monkeypatch.setitem(lists._LISTS, "data", lambda: rows)
    shown = unlocked("list", "data").out
    assert "digits  task classification\n" in shown
    assert "    data.options: threshold=null, side=null, columns=null\n" in shown


def test_in_a_pipe_every_preset_is_a_line(unlocked, monkeypatch):
    rows = once("presets")
    monkeypatch.setitem(lists._LISTS, "presets", lambda: rows)
    monkeypatch.delenv("COLUMNS")
    lines = unlocked("list", "presets").out.splitlines()
    assert len(lines) == len(rows) + 2
    assert ["graph/gat", "citations", "gat", "backprop", "2"] in [line.split() for line in lines]


def test_the_matrix_is_a_table_with_notes(unlocked, monkeypatch):
    found = json.loads(unlocked("list", "matrix", "--json").out)
    monkeypatch.setattr("unlocked.cli.matrix.matrix", lambda: found)  # making it again takes seconds
    shown = unlocked("list", "matrix").out
    assert shown.count("every minibatch draws anew") == 2  # dfa and local, each reason once
    assert "embedding: embedding/skipgram, accuracy, %" in shown


def test_doctor_finds_nothing_wrong_here(unlocked, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = unlocked("doctor", "--json")
    assert done.code == 0, done.out
    assert all(row["ok"] for row in json.loads(done.out))


@pytest.mark.timeout(60)
def test_python_m_unlocked_is_the_command():
    done = subprocess.run([sys.executable, "-m", "unlocked", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("unlocked ")


def test_the_old_word_of_bench_scaling_is_read_still_and_not_shown(unlocked):
    assert build_parser().parse_args(["bench", "scaling", "--stages", "3"]).modules == 3
    assert build_parser().parse_args(["bench", "scaling"]).modules is None
    assert "--stages" not in unlocked("bench", "scaling", "--help").out
