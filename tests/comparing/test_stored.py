"""A SQLite store read by queries says what MLflow says of it; tables that are not as they were are left to MLflow."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import pytest

from unlocked.comparing import finished
from unlocked.comparing.stored import StoredRun, of_database


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    client = MlflowClient(f"sqlite:///{database}")

    def run(experiment: str, began: int, status: str = "FINISHED", loss: float = math.inf) -> str:
        made: str = client.create_run(experiment, began, {"seed": "0", "note": "a 'b'\n%"}, f"s{began}").info.run_id
        points = [Metric("val/loss", value, 1, step) for step, value in enumerate((0.5, loss))]
        client.log_batch(made, points, [Param("optimizer.lr", "0.1")])
        client.set_terminated(made, status, 1)
        return made

    digits, gone = client.create_experiment("digits"), client.create_experiment("gone")
    run(digits, 1)
    run(digits, 2, loss=math.nan)
    run(digits, 3, "FAILED")
    client.delete_run(run(digits, 4))
    run(gone, 5)
    run("0", 6)
    client.delete_experiment(gone)
    return database


def test_a_file_read_by_queries_has_the_runs_that_mlflow_finds(database: Path):
    known, runs = of_database(database)
    by_mlflow = finished._of_mlflow(f"sqlite:///{database}")
    assert known == by_mlflow[0]
    assert sorted(known) == ["Default", "digits"]
    assert [repr(_ordered(run)) for run in runs] == [repr(_ordered(run)) for run in by_mlflow[1]]
    assert [run.name for run in runs] == ["s6", "s2", "s1"]


def _ordered(run):
    of = (run.tags, run.params, run.metrics)
    return (run.id, run.name, run.experiment, run.started, *(sorted(each.items()) for each in of))


def test_a_file_is_read_without_mlflow_and_one_of_other_tables_with_it(database: Path, monkeypatch):
    asked = []
    ours = finished._of_mlflow
    monkeypatch.setattr(finished, "_of_mlflow", lambda uri: asked.append(uri) or ours(uri))
    whole = finished.finished_runs(database.parent)
    assert (len(whole), asked) == (3, [])
    assert len(finished.finished_runs(database.parent, "digits")) == 2
    with sqlite3.connect(database) as connection:
        connection.execute("alter table latest_metrics rename column is_nan to none")
    assert of_database(database) is None


def test_a_store_of_an_earlier_mlflow_is_read_as_it_is(tmp_path: Path):
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.executescript(
            """
            create table experiments (experiment_id integer, name text, lifecycle_stage text);
            create table runs (run_uuid text, name text, status text, start_time int, lifecycle_stage text,
                               experiment_id integer);
            create table tags (key text, value text, run_uuid text);
            create table params (key text, value text, run_uuid text);
            create table latest_metrics (key text, value float, is_nan int, run_uuid text);
            insert into experiments values (3, 'digits', 'active');
            insert into runs values ('r', null, 'FINISHED', 7, 'active', 3);
            insert into tags values ('seed', '1', 'r'), ('gone', null, 'r');
            insert into latest_metrics values ('test/accuracy', 0.5, 0, 'r');
            """
        )
    assert of_database(database) == (
        {"digits": "3"},
        [StoredRun("r", "", "3", 7, {"seed": "1"}, {}, {"test/accuracy": 0.5})],
    )
