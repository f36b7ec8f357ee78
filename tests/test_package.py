"""The house as Python sees it: two source roots, one wheel, and dependencies that point one way."""

import ast
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import unlocked

ROOT = Path(__file__).resolve().parents[1]
STDLIB = Path(sysconfig.get_paths()["stdlib"]).resolve()
UNLOCKED, MODELS = ROOT / "platform" / "unlocked", ROOT / "models" / "unlocked_models"


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at any depth, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{path}: a relative import, line {node.lineno}")
    return found


def importers(folder: Path, *packages: str) -> list[str]:
    lines = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in folder.rglob("*.py")
        for name in imports(path)
        if any(name == package or name.startswith(f"{package}.") for package in packages)
    }
    return sorted(lines)


def python(*arguments: str, cwd: Path = ROOT) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_platform_is_the_standard_librarys_from_the_root_of_the_repository():
    printed = python("-c", "import platform; print(platform.__file__); platform.python_version()")
    assert Path(printed).resolve() == STDLIB / "platform.py"


def test_python_m_platform_runs_the_standard_librarys_from_the_root_of_the_repository():
    assert python("-m", "platform") == platform.platform()


def test_platform_is_the_standard_librarys_under_pytest():
    assert Path(platform.__file__).resolve() == STDLIB / "platform.py"
    assert platform.python_version() == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.ray
def test_platform_is_the_standard_librarys_in_a_ray_worker_whose_working_folder_is_the_repository():
    script = f"""
import json, os, ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={{
    "working_dir": {str(ROOT)!r}, "excludes": [".git", ".venv", "runs", "data"]}})

@ray.remote
def where():
    import platform
    platform.python_version()
    return os.listdir(), platform.__file__

print(json.dumps(ray.get(where.remote(), timeout=90)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    entries, file = json.loads(done.stdout.splitlines()[-1])
    assert "platform" in entries  # the folder of ours does lie there
    assert Path(file).resolve() == STDLIB / "platform.py"


def test_the_source_roots_are_folders_and_not_packages():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "models" / "__init__.py").exists()
    assert (UNLOCKED / "__init__.py").exists()
    assert (MODELS / "__init__.py").exists()


def test_the_scan_of_imports_would_notice(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from unlocked.cli import main\n    import ray.util as u\n")
    assert imports(tmp_path / "a.py") == {"unlocked.cli.main", "ray.util"}
    assert len(list(MODELS.rglob("*.py"))) > 5
    assert importers(UNLOCKED, "torch")


def test_models_never_import_the_engine():
    assert importers(MODELS, "unlocked", "ray", "mlflow", "omegaconf", "optuna") == []


@pytest.mark.parametrize("room", ["schemes", "tasks", "chain", "data", "config"])
def test_only_the_engine_and_what_stands_above_it_import_ray_and_mlflow(room):
    assert importers(UNLOCKED / room, "ray", "mlflow", "unlocked.engine", "unlocked.tracking") == []


def test_schemes_import_without_ray_being_loaded():
    loaded = python(
        "-c",
        "import sys, unlocked.schemes, unlocked_models; print(sorted({'ray', 'mlflow', 'optuna'} & set(sys.modules)))",
    )
    assert loaded == "[]"


def test_nothing_imports_the_command_line_but_the_command_line():
    found = importers(UNLOCKED, "unlocked.cli") + importers(MODELS, "unlocked.cli")
    doors = ("platform/unlocked/cli/", "platform/unlocked/__main__.py")
    assert [line for line in found if not line.startswith(doors)] == []


def test_the_version_is_that_of_the_installed_distribution():
    assert unlocked.__version__ == importlib.metadata.version("unlocked")


def test_public_names_are_there_and_a_wrong_one_is_an_attribute_error():
    for name in ("load_config", "register_model", "register_data", "register_scheme"):
        assert getattr(unlocked, name) is not None
        assert name in unlocked.__all__
    with pytest.raises(AttributeError, match="lod_config"):
        _ = unlocked.lod_config


def test_no_room_hides_a_public_name():
    """`from unlocked import compare` has to give the function, whatever was imported before."""
    rooms = {path.stem for path in UNLOCKED.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms & set(unlocked.__all__) == set()
