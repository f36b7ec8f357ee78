"""Processes that cannot outlive a test, and a database made once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process; whatever of its session is left is killed when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*command: object, **options: object) -> subprocess.Popen[bytes]:
        environment = os.environ | QUIET
        process = subprocess.Popen([str(word) for word in command], env=environment, start_new_session=True, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


@pytest.fixture
def write(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the writer of a run folder, its log where the real one is."""

    def begin(run_dir: Path, uri: str, *options: object) -> subprocess.Popen[bytes]:
        (run_dir / "tracking").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "unlocked.tracking.writer", run_dir]
        command += ["--uri", uri, "--experiment", "test"]
        with (run_dir / "tracking" / "writer.log").open("ab") as log:
            return start(*command, *options, stdout=log, stderr=log)

    return begin


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables and nothing in them; making one takes seconds."""
    place = tmp_path_factory.mktemp("database") / "mlflow.db"
    code = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    command = [sys.executable, "-c", code, f"sqlite:///{place}"]
    subprocess.run(command, env=os.environ | QUIET, timeout=120, check=True, capture_output=True)
    return place


@pytest.fixture
def runs(tmp_path: Path, empty_database: Path) -> Path:
    """A runs root with a ready database."""
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    return root


@dataclass
class Stored:
    """What an MLflow database holds, read without MLflow."""

    path: Path

    def query(self, text: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(text).fetchall()

    def points(self) -> dict[str, int]:
        rows = self.query("select key, count(*) from metrics where key not like 'system/%' group by key")
        return dict(rows)

    def repeated_points(self) -> int:
        keys = self.query("select run_uuid, key, step from metrics where key not like 'system/%'")
        return sum(count - 1 for count in Counter(keys).values())

    def runs(self) -> list[tuple[str, str]]:
        return self.query("select name, status from runs order by start_time")


@pytest.fixture
def stored() -> type[Stored]:
    return Stored


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
