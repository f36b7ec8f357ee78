"""Modules of one's own: by name or as a file, and one readable line for whatever they do when they are imported."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from unlocked.errors import ConfigError
from unlocked.plugins import folder_of, import_modules, pickled_whole


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules of names that no other test uses, and forgets them."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def module(name, text, folder=tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return folder / f"{name}.py"

    yield module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_imported_with_what_lies_beside_it(write, tmp_path):
    write("mine_beside", "VALUE = 3")
    file = write("mine_above", "from mine_beside import VALUE")
    assert import_modules([str(file)]) == ["mine_above"]
    assert sys.modules["mine_above"].VALUE == 3
    assert folder_of("mine_above") == str(tmp_path)


def test_a_file_of_a_package_keeps_its_full_name(write, tmp_path):
    package = tmp_path / "mine_package"
    write("__init__", "", package)
    write("inner", "VALUE = 4", package)
    file = write("outer", "from .inner import VALUE", package)
    assert import_modules([str(file), str(package)]) == ["mine_package.outer", "mine_package"]
    assert folder_of("mine_package.outer") == str(tmp_path)


def test_an_installed_module_has_no_folder_of_its_own():
    assert import_modules(["torch.nn"]) == ["torch.nn"]
    assert folder_of("torch.nn") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import sys\nsys.exit(3)",
            "ends the process when it is imported (exit code 3); put what it does as a program "
            "under if __name__ == '__main__'",
        ),
        ("raise KeyboardInterrupt", "raises KeyboardInterrupt when it is imported"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
    ],
)
def test_whatever_a_module_raises_is_one_line(write, text, said):
    file = write("mine_broken", text)
    with pytest.raises(ConfigError) as refused:
        import_modules([str(file)])
    assert str(refused.value).startswith(f"--import {file}: {said}")
    assert "\n" not in str(refused.value)


def test_ctrl_c_while_a_module_is_imported_is_ctrl_c(write):
    before = signal.getsignal(signal.SIGINT)
    file = write("mine_slow", f"import os, signal, time\nos.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(5)")
    with pytest.raises(KeyboardInterrupt):
        import_modules([str(file)])
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nowhere.py", "no such file"),
        ("a/b", "no such file"),
        ("", "is neither a module's name nor a file"),
        ("..up", "is neither"),
        ("two words", "is neither"),
    ],
)
def test_what_names_no_module_is_one_line(word, said):
    with pytest.raises(ConfigError, match=said):
        import_modules([word])


def test_a_file_with_the_name_of_another_module_is_refused(write):
    file = write("colorsys", "VALUE = 5")
    with pytest.raises(ConfigError, match=r"Python has another module 'colorsys'.*give the file another name"):
        import_modules([str(file)])
    with pytest.raises(ConfigError, match="'my-model' is no name of a module"):
        import_modules([str(write("my-model", ""))])


def test_what_a_users_module_changed_in_a_class_of_ours_is_sent_without_the_module(tmp_path, monkeypatch):
    """A worker loads the actor's class before it has entered the folder of the user's modules."""
    from ray import cloudpickle

    (tmp_path / "changes_ours.py").write_text("import os\nFLAG = os.sep\ndef added(self):\n    return FLAG\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = import_modules(["changes_ours"])
    added = sys.modules["changes_ours"].added
    with pickled_whole(names):
        sent = cloudpickle.dumps(added)
    by_name = cloudpickle.dumps(added)
    monkeypatch.delitem(sys.modules, "changes_ours")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    assert cloudpickle.loads(sent)(None) == os.sep
    with pytest.raises(ModuleNotFoundError):
        cloudpickle.loads(by_name)
