from __future__ import annotations

import configparser
import importlib.util
import shutil
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlocked.cli.main import main
from unlocked.errors import UnlockedError
from unlocked.network import free_port
from unlocked.tracking import browser, serve, ui
from unlocked.tracking.ui import login, server_command
from unlocked.tracking.uris import sqlite_path


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_an_open_host_without_a_login_is_refused_with_the_ways_out(tmp_path: Path, host: str, monkeypatch):
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnlockedError, match=r"needs its login \(pip install 'mlflow\[auth\]'\).*ssh -L") as caught:
        serve(tmp_path, host=host)
    assert "\n" not in str(caught.value)


def test_a_missing_database_names_the_next_step(tmp_path: Path):
    with pytest.raises(UnlockedError, match=r"no tracking database at .*mlflow\.db; train something first"):
        serve(tmp_path)


def test_a_port_in_use_names_a_free_one(tmp_path: Path):
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnlockedError, match=rf"--port {port}: already in use; port \d+ is free"):
            serve(tmp_path, port=port)


def test_a_tracking_server_is_only_pointed_to():
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert serve(f"http://ann:pw@127.0.0.1:{port}", say=said.append) == 0
    assert said == [f"MLflow runs at http://***@127.0.0.1:{port}"]
    with pytest.raises(UnlockedError, match=r"nobody answers at http://\*\*\*@127\.0\.0\.1"):
        serve(f"http://ann:pw@127.0.0.1:{port}", say=said.append)


def test_the_server_is_bound_to_loopback_and_answers_only_to_its_own_name():
    command = server_command("sqlite:////x.db", "127.0.0.1", 5005)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--allowed-hosts"] == "127.0.0.1,127.0.0.1:5005,localhost,localhost:5005"
    assert "--app-name" not in command


def test_beyond_loopback_the_server_asks_for_a_login_and_answers_to_the_names_that_were_allowed(tmp_path: Path):
    command = server_command("sqlite:////x.db", "0.0.0.0", 5005, ["head.example"])
    assert command[command.index("--app-name") + 1] == "basic-auth"
    allowed = command[command.index("--allowed-hosts") + 1].split(",")
    assert "head.example:5005" in allowed
    assert "0.0.0.0" not in allowed


def test_the_login_is_kept_from_other_users_and_stays_the_same(tmp_path: Path):
    first = login(tmp_path / ".login")
    assert login(tmp_path / ".login") == first
    assert len({first["MLFLOW_AUTH_ADMIN_PASSWORD"], first["MLFLOW_FLASK_SERVER_SECRET_KEY"]}) == 2
    for secret in ("password", "session-key"):
        assert stat.S_IMODE((tmp_path / ".login" / secret).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / ".login").stat().st_mode) == 0o700


def status_of(url: str, password: str | None = None) -> int:
    request = urllib.request.Request(url)
    if password is not None:
        request.add_header("Authorization", "Basic " + b64encode(f"admin:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.live
@pytest.mark.slow("a server with a login starts")
def test_beyond_loopback_nobody_sees_a_run_without_the_password(tmp_path: Path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    port = free_port("0.0.0.0")
    server = subprocess.Popen(
        [sys.executable, "-m", "unlocked", "ui", "--host", "0.0.0.0", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = []
        for line in server.stdout:  # until it is up, or has ended
            said.append(line)
            if "Ctrl-C ends it" in line:
                break
        else:
            pytest.fail("".join(said))
        password = (tmp_path / "runs" / ".login" / "password").read_text()
        assert password not in "".join(said)
        for path in (
            "/",
            "/version",
            "/graphql",
            "/get-artifact",
            "/api/2.0/mlflow/experiments/get?experiment_id=0",
            "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0",
            "/api/2.0/mlflow-artifacts/artifacts",
        ):
            assert status_of(f"http://127.0.0.1:{port}{path}") == 401, path
            assert status_of(f"http://127.0.0.1:{port}{path}", "0" * 64) == 401, path
        assert status_of(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0", password) == 200
    finally:
        server.terminate()  # as Ctrl-C, it ends MLflow as well
        server.wait(timeout=60)
    with pytest.raises(urllib.error.URLError):
        status_of(f"http://127.0.0.1:{port}/")


def test_the_login_s_users_lie_beside_the_runs_whatever_the_folder_is_called(tmp_path: Path):
    folder = tmp_path / "100%" / "a?b" / ".login"
    settings = configparser.ConfigParser()
    settings.read(login(folder)["MLFLOW_AUTH_CONFIG_PATH"])
    assert sqlite_path(settings["mlflow"]["database_uri"]) == folder / "users.db"


class Up:
    """MLflow's server, which is up at once and ends by itself."""

    pid, returncode = 2**22 + 1, 0

    def __init__(self, command: list[str], **_: object) -> None:
        pass

    def poll(self) -> None:
        return None

    def wait(self, timeout: float | None = None) -> int:
        return 0


def served(monkeypatch, database: Path, page: tuple[str | None, bool], words: list[str]) -> list[str]:
    """The pages that `unlocked ui` opens, of a dashboard whose latest page is `page`."""
    opened: list[str] = []
    monkeypatch.setattr(ui.subprocess, "Popen", Up)
    monkeypatch.setattr(ui, "_wait_until_up", lambda server, url: None)
    monkeypatch.setattr(ui, "latest_page", lambda address: page)
    monkeypatch.setattr("unlocked.tracking.browser.webbrowser.get", lambda: SimpleNamespace(open=opened.append))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["ui", "--runs", str(database.parent), "--port", str(free_port()), *words]) == 0
    return opened


@pytest.mark.parametrize(
    ("environment", "words", "opens"),
    [
        ({"DISPLAY": ":0"}, [], True),
        ({"DISPLAY": ":0"}, ["--no-browser"], False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 22"}, [], False),
        ({}, [], False),
    ],
)
def test_the_browser_opens_on_results_if_there_is_a_screen_and_nobody_said_no(
    tmp_path, monkeypatch, capsys, empty_database, environment, words, opens
):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    opened = served(monkeypatch, tmp_path / "mlflow.db", ("7", True), words)
    told = capsys.readouterr().out
    assert "/#/experiments/7/runs" in told
    assert [page.endswith("viewStateShareKey=unlocked-results") for page in opened] == [True] * opens


def test_without_an_experiment_the_browser_opens_on_the_list(tmp_path, monkeypatch, capsys, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    (page,) = served(monkeypatch, tmp_path / "mlflow.db", (None, False), [])
    assert page.endswith("/#/experiments?workflowType=machine_learning")


def test_no_browser_inside_the_terminal_is_opened(monkeypatch):
    import webbrowser

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("unlocked.tracking.browser.webbrowser.get", lambda: webbrowser.GenericBrowser("false"))
    assert not browser.show("http://127.0.0.1")
