"""What travels with a job: the project's files, in equal archives, and neither secrets nor data nor runs."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from unlocked.errors import ConfigError
from unlocked.jobs import pack as module
from unlocked.jobs.pack import pack


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in (
        "my_model.py",
        "conf/a.yaml",
        "lib/data/reader.py",
        "data/train.bin",
        "runs/x/config.yaml",
        "notes/ignored.txt",
        "kept.txt",
        ".env",
        "deploy/id_rsa",
        "cert.pem",
        "model.safetensors",
        "lib/__pycache__/a.pyc",
        ".aws/credentials",
        "store/run-1/config.yaml",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / ".gitignore").write_text("notes/\n")
    return root


def names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as packed:
        return packed.namelist()


WANTED = [".gitignore", "conf/a.yaml", "kept.txt", "lib/data/reader.py", "my_model.py"]


@pytest.mark.parametrize("repository", [False, True])
def test_data_runs_secrets_and_ignored_files_stay_at_home(project, tmp_path, repository):
    if repository:
        subprocess.run(["git", "init", "-q", str(project)], check=True)
        subprocess.run(["git", "-C", str(project), "add", "-f", ".env"], check=True)  # a secret that is tracked
    package = pack(project, tmp_path, [project / "store"])
    assert names(package.path) == package.files == WANTED
    assert {".env", "deploy/id_rsa", "model.safetensors"} <= set(package.left_out)  # these are told
    assert not (project / ".git").exists() or repository


def test_an_equal_project_gives_an_equal_archive_and_a_changed_one_another(project, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir(), second.mkdir()
    one = pack(project, first).path
    os.utime(project / "kept.txt", (1, 1))
    other = pack(project, second).path
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()
    (project / "kept.txt").chmod(0o755)
    assert pack(project, second).path.name != one.name


def test_a_link_out_of_the_project_is_not_followed(project, tmp_path):
    (tmp_path / "outside.txt").write_text("secret")
    (project / "link.txt").symlink_to(tmp_path / "outside.txt")
    (project / "inside.txt").symlink_to(project / "kept.txt")
    assert pack(project, tmp_path, [project / "store"]).files == sorted([*WANTED, "inside.txt"])


def test_a_gigabyte_is_refused_in_one_line_that_names_it_before_anything_is_read(project, tmp_path, monkeypatch):
    with (project / "big.bin").open("wb") as file:
        file.truncate(2**30)  # takes no room on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} was read"))
    with pytest.raises(
        ConfigError,
        match=r"holds 1024 MiB in 7 files, a job may bring 100 MiB; .*\.gitignore "
        r"\(largest: big.bin \(1024 MiB\)",
    ) as caught:
        pack(project, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.zip"))


def test_without_git_nothing_is_guessed(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="git is needed"):
        pack(project, tmp_path)


def test_the_limit_is_what_a_head_node_accepts():
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    assert module.LIMIT <= DASHBOARD_CLIENT_MAX_SIZE
