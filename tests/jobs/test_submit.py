"""What a submission sends: the command, the archive, and where the job's folder is a copy of; the cluster is a fake."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from unlocked.errors import ConfigError
from unlocked.jobs.submit import how_to_go_on, submit
from unlocked.plugins import import_modules
from unlocked.runs.needs import VARIABLE, keep_needs


class FakeCluster:
    def __init__(self, address="http://127.0.0.1:8265"):
        self.address, self.client, self.sent = address, SimpleNamespace(submit_job=self._submit), []

    def capacity(self):
        return {"CPU": 4.0}

    def has_keeper(self):
        return True

    def readable(self):
        return contextlib.nullcontext()

    def _submit(self, *, runtime_env, **_):
        with zipfile.ZipFile(runtime_env["working_dir"]) as packed:
            self.sent.append(
                ({name: packed.read(name).decode() for name in packed.namelist()}, runtime_env.get("env_vars"))
            )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory; `write(path, text)` beside or inside it. Modules that tests import are forgotten."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UNLOCKED_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "project"), *sys.path])
    before = set(sys.modules)

    def write(name, text=""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    write("project/kept.txt")
    monkeypatch.chdir(tmp_path / "project")
    yield write
    for name in set(sys.modules) - before:
        if name.startswith("sent_"):
            del sys.modules[name]


def send(words=(), imports=(), cluster=None, **options):
    cluster = cluster or FakeCluster()
    spec = submit(
        cluster,
        "train",
        None if "resume" in options else "quickstart",
        words,
        imports=import_modules(imports),
        **options,
    )
    ((files, environment),) = cluster.sent
    return spec.words, files, environment


def test_a_job_tells_as_much_as_a_terminal(project):
    words, _, _ = send()
    assert "--quiet" not in words


def test_a_module_of_the_project_travels_even_if_git_ignores_it(project, tmp_path):
    project("project/.gitignore", "sent_*\n")
    project("project/sent_inside.py", "import sent_helper")
    project("project/sent_helper.py", "def f():\n    import sent_late")
    project("project/sent_late.py")
    project("project/sent_other.py")
    words, files, environment = send(imports=["sent_inside"])
    assert words[-2:] == ["--import", "sent_inside"]
    assert sorted(files) == [".gitignore", "kept.txt", "sent_helper.py", "sent_inside.py", "sent_late.py"]
    assert json.loads(environment[VARIABLE]) == {
        "folder": str(tmp_path / "project"),
        "imports": [{"name": "sent_inside", "folder": str(tmp_path / "project")}],
    }


def test_modules_from_elsewhere_lie_in_folders_of_their_own(project, tmp_path):
    package = project("other/sent_package/__init__.py", "from . import inner").parent
    project("other/sent_package/inner.py", "import sent_beside")
    project("other/sent_package/table.csv", "1,2")
    project("other/sent_package/weights.pt", "large")
    project("other/sent_beside.py")
    project("other/unrelated.py")
    alone = project("third/sent_alone.py")
    words, files, _ = send(imports=[str(package), str(alone), "json"])
    assert words[-6:] == [
        "--import",
        "imports-1/sent_package/__init__.py",
        "--import",
        "imports-2/sent_alone.py",
        "--import",
        "json",
    ]
    assert sorted(files) == [
        "imports-1/sent_beside.py",
        "imports-1/sent_package/__init__.py",
        "imports-1/sent_package/inner.py",
        "imports-1/sent_package/table.csv",
        "imports-2/sent_alone.py",
        "kept.txt",
    ]


def test_the_archive_imports_what_was_imported_here(project, tmp_path):
    package = project("other/sent_package/__init__.py", "from . import inner").parent
    project("other/sent_package/inner.py", "from sent_beside import VALUE")
    project("other/sent_beside.py", "VALUE = 7")
    words, files, _ = send(imports=[str(package)])
    for name, text in files.items():
        project(f"job/{name}", text)
    code = (
        f"from unlocked.plugins import import_modules; import sys; names = import_modules({[words[-1]]}); "
        "print(names, sys.modules['sent_package'].inner.VALUE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "job", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "['sent_package'] 7\n"


def test_a_module_named_like_a_secret_is_refused(project):
    with pytest.raises(ConfigError, match=r"--import: .*credentials\.py has the name of a secret"):
        send(imports=[str(project("sent_0/credentials.py"))])
    del sys.modules["credentials"]


def test_files_and_runs_that_a_configuration_names_are_found_from_the_jobs_folder(project, tmp_path):
    project("project/.gitignore", "mine.txt\n")
    text = project("project/mine.txt", "words " * 99)
    options = ["data={name: text, options: {file: mine.txt, length: 8}}"]
    words, _, _ = send(options)
    assert f'data.options.file="{text}"' in words
    with pytest.raises(ConfigError, match=r"data\.options\.file: mine\.txt does not travel with the project"):
        send([*options, "tracking.runs=/srv/runs"], cluster=FakeCluster("http://head.example:8265"))
    project("project/.gitignore")
    words, files, environment = send(
        [*options, "tracking.runs=/srv/runs"], cluster=FakeCluster("http://head.example:8265")
    )
    assert "mine.txt" in files
    assert environment is None
    with pytest.raises(ConfigError, match=r"data\.root: nowhere is no folder"):
        send(["data.root=nowhere"])


def test_a_run_is_gone_on_with_in_the_project_it_was_begun_in(project, tmp_path, monkeypatch):
    from unlocked.config import load_config
    from unlocked.runs.folder import RunFolder

    project("project/sent_model.py")
    folder = RunFolder.create(load_config("quickstart"))
    keep_needs(folder.path, import_modules(["sent_model"]))
    folder.release()
    run = str(folder.path.absolute())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    del sys.modules["sent_model"]
    words, files, environment = send(resume=os.path.relpath(run))
    assert words == ["train", "--resume", run, "--import", "sent_model"]
    assert sorted(files) == ["kept.txt", "sent_model.py"]
    assert json.loads(environment[VARIABLE])["folder"] == str(tmp_path / "project")
    assert send(["train.epochs=400"], resume=run)[0][:4] == ["train", "--resume", run, "train.epochs=400"]
    with pytest.raises(ConfigError, match="--resume: seed would make"):
        send(["seed=1"], resume=run)


def test_a_configuration_that_stays_at_home_is_read_where_it_is_or_refused(project, tmp_path):
    from unlocked.config import load_config, to_yaml

    outside = project("runs/found/study.yaml", to_yaml(load_config("quickstart")))
    inside = project("project/runs/found/study.yaml", outside.read_text())
    kept = project("project/mine.yaml", outside.read_text())
    for given, word in ((str(outside), str(outside)), ("runs/found/study.yaml", str(inside)), (kept.name, kept.name)):
        cluster = FakeCluster()
        assert submit(cluster, "train", given).words[1] == word
    away = FakeCluster("http://head.example:8265")
    with pytest.raises(ConfigError, match=r"config: .*study\.yaml does not travel with the project"):
        submit(away, "train", str(outside), ["tracking.runs=/srv/runs"])
    assert submit(away, "train", kept.name, ["tracking.runs=/srv/runs"]).words[1] == kept.name


@pytest.mark.parametrize(
    ("address", "kind", "expected"),
    [
        ("http://127.0.0.1:8265", "sweep", "unlocked submit sweep '/my runs/found/study.yaml'"),
        ("http://127.0.0.1:8265", "train", "unlocked submit sweep '/my runs/found/study.yaml'"),
        ("http://head.example:8265", "sweep", "unlocked submit sweep studies/lag 'name=a b'"),
    ],
)
def test_a_stopped_job_names_the_command_that_goes_on(address, kind, expected):
    cluster = FakeCluster(address)
    log = "x\nunlocked: interrupted; go on with: unlocked sweep '/my runs/found/study.yaml'\n"
    cluster.client.get_job_logs = lambda _: log
    cluster.job = lambda _: SimpleNamespace(spec=SimpleNamespace(kind=kind, words=["sweep", "studies/lag", "name=a b"]))
    assert how_to_go_on(cluster, "x-1") == expected
