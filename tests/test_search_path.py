"""User code is found in the working directory, and never instead of Python's or the platform's."""

import os
import subprocess
import sys

import pytest

from unlocked import search_path
from unlocked.errors import ConfigError
from unlocked.plugins import enter, import_modules
from unlocked.search_path import child_environment, find_here_last, ray_job


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(search_path, "_here", None)
    yield
    for name in ("colorsys", "only_here"):
        sys.modules.pop(name, None)


def test_a_file_named_like_an_installed_module_stands_behind_it(tmp_path, monkeypatch):
    for name in ("colorsys", "only_here"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    find_here_last()
    import colorsys

    assert not hasattr(colorsys, "MINE")
    import_modules(["only_here"])
    assert sys.modules["only_here"].MINE


def test_of_two_working_directories_the_last_one_counts(tmp_path, monkeypatch):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        find_here_last()
    assert sys.path[-1] == str(tmp_path / "b")
    assert str(tmp_path / "a") not in sys.path


@pytest.mark.parametrize("name", ["colorsys", "itertools", "torch"])
def test_an_import_that_python_finds_elsewhere_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / f"{name}.py").write_text("")
    monkeypatch.chdir(tmp_path)
    find_here_last()
    with pytest.raises(ConfigError, match=rf"--import {name}: Python finds .* before {name}.py; give yours another"):
        import_modules([name])


def test_a_worker_finds_modules_in_the_driver_s_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, own = str(tmp_path), list(sys.path)
    enter(here, ["/driver", here], [])
    assert sys.path == ["/driver", *own, here]
    sys.path[:] = own
    enter(here, [here, "/driver"], [])  # of a script, whose folder Python itself puts first
    assert sys.path == [here, "/driver", *own]


def test_ray_puts_no_folder_in_front_of_a_worker_s_path():
    job = ray_job()
    job._py_driver_sys_path.extend(["/somewhere"])  # as `ray.init` does
    assert list(job._get_proto_job_config().py_driver_sys_path) == []


def test_a_process_of_ours_does_not_look_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "colorsys.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), "", "/elsewhere"]))
    assert child_environment()["PYTHONPATH"] == "/elsewhere"
    done = subprocess.run([sys.executable, "-S", "-m", "colorsys"], env=child_environment(), check=False)
    assert done.returncode == 0


def test_the_module_as_a_command_leaves_the_working_directory_out(tmp_path):
    (tmp_path / "argparse.py").write_text("raise SystemExit('mine')")
    done = subprocess.run(
        [sys.executable, "-m", "unlocked", "--version"], cwd=tmp_path, check=False, text=True, capture_output=True
    )
    assert done.stdout.startswith("unlocked ")
