from __future__ import annotations

from pathlib import Path

import pytest

from unlocked.errors import ConfigError
from unlocked.security import redact
from unlocked.tracking.uris import artifact_root, reachable, resolve_uri, split_credentials, sqlite_path, sqlite_uri


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:pw@host:5000/x", "http://***@host:5000/x"),
        ("https://token@host", "https://***@host"),
        ("postgresql+psycopg2://u:p@ss@db/x", "postgresql+psycopg2://***@db/x"),
        ("postgresql://u:p/w@db/x", "postgresql://***@db/x"),
        ("two: http://a:b@h and mysql://c:d@h", "two: http://***@h and mysql://***@h"),
        ("postgresql://h/db?user=u&password=pw&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("https://host/repo@v2", "https://host/repo@v2"),
        ("sqlite:////home/ann/mlflow.db", "sqlite:////home/ann/mlflow.db"),
        ("mail ann@example.org", "mail ann@example.org"),
    ],
)
def test_credentials_are_redacted_and_nothing_else(text: str, shown: str):
    assert redact(text) == shown


def test_the_default_store_is_sqlite_in_the_runs_root(tmp_path: Path):
    uri = resolve_uri(None, tmp_path)
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("off", tmp_path) == "off"
    assert artifact_root(uri, tmp_path) == tmp_path / "artifacts"
    assert artifact_root("http://host", tmp_path) is None


def test_a_relative_sqlite_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///here.db", Path("runs")) == f"sqlite:///{tmp_path}/here.db"


@pytest.mark.parametrize("folder", ["plain", "a b", "what?", "a?b=c", "a%20b", "100%", "a#b", "%3F", "ä&;"])
def test_a_database_lies_in_its_folder_whatever_that_is_called(tmp_path: Path, folder: str):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    (tmp_path / folder).mkdir()
    uri = resolve_uri(None, tmp_path / folder)
    assert sqlite_path(uri) == tmp_path / folder / "mlflow.db"
    assert resolve_uri(uri, Path("elsewhere")) == uri  # a run keeps it, and its writer resolves it again
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table made (a int)"))
    engine.dispose()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.db")] == [Path(folder, "mlflow.db")]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_address_is_taken_as_typed_with_options_behind_it():
    assert resolve_uri("sqlite:////a%20b/x.db", Path()) == "sqlite+pysqlite:////a%2520b/x.db"
    assert resolve_uri("sqlite:////a/x.db?timeout=5", Path()) == "sqlite:////a/x.db?timeout=5"
    assert resolve_uri("sqlite:////a?/x.db?timeout=5", Path()) == "sqlite+pysqlite:////a%3F/x.db?timeout=5"
    assert sqlite_path("sqlite+pysqlite:////a%3F/x.db?timeout=5") == Path("/a?/x.db")
    assert sqlite_path("postgresql://host/x") is None
    assert sqlite_uri(Path("/x?")) == "sqlite+pysqlite:////x%3F"


def test_an_address_nobody_can_track_to_is_one_line_without_its_password():
    with pytest.raises(ConfigError, match=r"tracking\.uri: 'ftp://\*\*\*@host' is not") as caught:
        resolve_uri("ftp://u:pw@host", Path())
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="mlruns"):
        resolve_uri("./mlruns", Path())


def test_http_credentials_move_into_mlflow_variables():
    bare, variables = split_credentials("https://ann:p%40w@host:5000/x")
    assert bare == "https://host:5000/x"
    assert variables == {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "p@w"}
    assert split_credentials("http://host") == ("http://host", {})


def test_a_closed_port_is_not_reachable_and_sqlite_always_is(free_port: int):
    assert not reachable(f"http://127.0.0.1:{free_port}")
    assert reachable("sqlite:////nowhere/x.db")
