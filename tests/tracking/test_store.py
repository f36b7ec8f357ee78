"""A SQLite store is whole or absent, and one that is damaged ends a command in one line."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from unlocked.comparing.finished import finished_runs
from unlocked.errors import UnlockedError
from unlocked.tracking import store
from unlocked.tracking.store import opening
from unlocked.tracking.uris import sqlite_path


@pytest.fixture
def made(empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the databases that were made; MLflow's own takes seconds."""
    names: list[str] = []

    class Client:
        def __init__(self, uri: str) -> None:
            self.path = sqlite_path(uri)

        def search_experiments(self, max_results: int) -> None:
            names.append(self.path.name)
            shutil.copy(empty_database, self.path)

    monkeypatch.setattr("mlflow.tracking.MlflowClient", Client)
    return names


def experiments(database: Path) -> list[tuple]:
    with sqlite3.connect(database) as connection:
        return connection.execute("select name from experiments").fetchall()


@pytest.mark.parametrize("state", ["absent", "empty", "no tables", "no experiment"])
def test_a_store_that_a_killed_process_left_half_made_is_made_again(tmp_path: Path, made, state: str):
    database = tmp_path / "mlflow.db"
    if state == "empty":
        database.touch()
    elif state != "absent":
        with sqlite3.connect(database) as connection:
            connection.execute("create table experiments (name text)")
            connection.execute("create table alembic_version (version_num text)")
            if state == "no tables":
                connection.execute("drop table experiments")
                connection.execute("drop table alembic_version")
    (tmp_path / "mlflow.db-journal").write_bytes(b"of the killed process")
    (tmp_path / ".mlflow.db.made-by-1").write_bytes(b"of another one")
    with opening(f"sqlite:///{database}"):
        assert experiments(database) == [("Default",)]
    assert sorted(os.listdir(tmp_path)) == ["mlflow.db", "mlflow.db.lock"]
    with opening(f"sqlite:///{database}"):
        assert len(made) == 1


def test_a_kill_while_the_tables_are_made_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Killed:
        def __init__(self, uri: str) -> None:
            sqlite_path(uri).write_text("half")

        def search_experiments(self, max_results: int) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.tracking.MlflowClient", Killed)
    with pytest.raises(KeyboardInterrupt), opening(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        pass
    assert os.listdir(tmp_path) == ["mlflow.db.lock"]


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path, made):
    with sqlite3.connect(tmp_path / "mine.db") as connection:
        connection.execute("create table accounts (name text)")
    with opening(f"sqlite:///{tmp_path / 'mine.db'}"):
        assert made == []


def test_a_damaged_database_is_one_line_with_the_way_out(tmp_path: Path, empty_database: Path):
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    content = bytearray(database.read_bytes())
    content[:50_000] = os.urandom(50_000)
    database.write_bytes(content)
    with pytest.raises(UnlockedError, match="move it away: the next command makes it again") as failure:
        finished_runs(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_database_damaged_further_in_is_one_line_too(tmp_path: Path, empty_database: Path):
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    with sqlite3.connect(database) as connection:
        connection.execute("drop table runs")
        connection.execute("create table runs (run_uuid text)")
    with pytest.raises(UnlockedError, match=r"cannot read runs from sqlite.*move it away") as failure:
        finished_runs(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_store_that_may_only_be_read_is_opened_without_a_lock(tmp_path: Path, empty_database: Path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setattr(store, "locked", refused)
    with opening(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        assert os.listdir(tmp_path) == ["mlflow.db"]
