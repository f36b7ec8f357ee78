"""`unlocked new KIND NAME`: three files that work at once, and nothing that is overwritten."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from unlocked.callbacks import CALLBACKS
from unlocked.cli.main import main
from unlocked.cli.new import KINDS
from unlocked.data import DATA, TRANSFORMS
from unlocked.optim import OPTIMIZERS
from unlocked.schemes import SCHEMES
from unlocked.tasks import LOSSES, METRICS, TASKS
from unlocked_models import MODELS

REGISTRIES = (CALLBACKS, DATA, TRANSFORMS, OPTIMIZERS, SCHEMES, LOSSES, METRICS, TASKS, MODELS)
MEASURED = {"metric": "test/fresh_metric", "callback": "lowest_loss"}  # in place of the accuracy
QUICK = ["train.epochs=1", "tracking.uri=off", "tracking.figures=false", "parallel.threads=1", "--quiet"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder; modules and names as they were, afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_facts", dict(registry._facts))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("fresh", "test_fresh")):
            del sys.modules[name]


def said(capsys, *words):
    code = main(list(words))
    given = capsys.readouterr()
    return code, given.out + given.err


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_trains_by_the_command_that_it_prints(kind, capsys):
    code, text = said(capsys, "new", kind, f"fresh_{kind}")
    assert code == 0
    command = f"unlocked train ./fresh_{kind}.yaml --import ./fresh_{kind}.py"
    assert command in text
    assert f"pytest test_fresh_{kind}.py" in text
    assert command in Path(f"fresh_{kind}.yaml").read_text()
    code, text = said(capsys, *command.split()[1:], *QUICK)
    assert code == 0, text
    (summary,) = Path("runs").glob("*/summary.json")
    assert MEASURED.get(kind, "test/accuracy") in json.loads(summary.read_text())["metrics"]


SLOW = pytest.mark.slow("the contracts of schemes and callbacks train several runs")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=SLOW) if k in ("scheme", "callback") else k for k in KINDS])
def test_the_contract_that_it_writes_holds(kind, tmp_path):
    assert main(["new", kind, f"fresh_{kind}"]) == 0
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module(f"test_fresh_{kind}")
    (contract,) = (thing for name, thing in vars(module).items() if name.startswith("TestFresh"))
    checks = [name for name in dir(contract) if name.startswith("test_")]
    assert checks
    for check in checks:
        getattr(contract(), check)()


def test_a_folder_is_made_and_named_in_what_is_printed(capsys):
    code, text = said(capsys, "new", "loss", "fresh_loss", "--folder", "my ideas")
    assert code == 0
    assert "unlocked train './my ideas/fresh_loss.yaml' --import './my ideas/fresh_loss.py'" in text
    assert sorted(path.name for path in Path("my ideas").iterdir()) == [
        *("fresh_loss.py", "fresh_loss.yaml", "test_fresh_loss.py")
    ]


@pytest.mark.parametrize("there", ["fresh_loss.py", "fresh_loss.yaml", "test_fresh_loss.py"])
def test_nothing_is_overwritten(there, capsys):
    Path(there).write_text("mine")
    code, text = said(capsys, "new", "loss", "fresh_loss")
    assert (code, text.splitlines()) == (
        2,
        [f"unlocked: new: {there} is there already and stays as it is; give another name, or --folder"],
    )
    assert [path.name for path in Path().iterdir()] == [there]
    assert Path(there).read_text() == "mine"


def test_a_dangling_link_is_not_written_through(capsys, tmp_path):
    Path("fresh_loss.py").symlink_to(tmp_path / "elsewhere.py")
    assert said(capsys, "new", "loss", "fresh_loss")[0] == 2
    assert not Path("elsewhere.py").exists()


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("loss", "class", "'class' is a word of Python; use lower-case letters, digits and _, such as my_class"),
        ("loss", "match", "'match' is a word of Python; use lower-case letters, digits and _, such as my_match"),
        ("data", "null", "'null' is a word of YAML; use lower-case letters, digits and _, such as my_null"),
        ("loss", "My-Loss", "'My-Loss' is no name; use lower-case letters, digits and _, such as my_loss"),
        ("loss", "../up", "'../up' is no name; use lower-case letters, digits and _, such as up"),
        ("loss", "3d", "'3d' is no name; use lower-case letters, digits and _, such as my_3d"),
        ("loss", "", "'' is no name"),
        ("loss", "json", "'json' is a module that Python has already, "),
        ("loss", "test_mine", "'test_mine': pytest would take its file for a test; use 'mine'"),
        ("loss", "a" * 41, "has 41 characters; use at most 40"),
        ("loss", "mse", "'mse' is a loss already"),
        ("metric", "rmse", "'rmse' is a metric already"),
        ("scheme", "dfa", "'dfa' is a scheme already"),
        ("data", "digits", "'digits' is a data set already"),
    ],
)
def test_names_that_cannot_be_are_one_line(kind, name, line, capsys):
    code, text = said(capsys, "new", kind, name)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert line in text
    assert list(Path().iterdir()) == []


def test_a_place_that_cannot_be_written_leaves_nothing(capsys):
    Path("file").write_text("")
    code, text = said(capsys, "new", "loss", "fresh_loss", "--folder", "file/in")
    assert code == 2
    assert "cannot be written: " in text


def test_an_unknown_kind_has_the_nearest_match(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["new", "los", "fresh"])
    assert ended.value.code == 2
    assert "did you mean 'loss'?" in capsys.readouterr().err
