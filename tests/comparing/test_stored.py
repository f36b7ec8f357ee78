"""A SQLite store read by queries says what MLflow says of it; tables that are not as they were are left to MLflow."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import pytest

from unlocked.comparing import finished
from unlocked.comparing.stored import of_database


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    from mlflow import MlflowClient

    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    client = MlflowClient(f"sqlite:///{database}")
    gone = client.create_experiment("gone")
    for place, (name, status) in enumerate([("digits", "FINISHED"), ("rates", "FAILED"), ("text", "FINISHED")]):
        experiment = client.create_experiment(name)
        for seed in range(2):
            run = client.create_run(
                experiment, 100 * place + seed + 1, {"seed": str(seed), "note": "a 'b'\n%"}, f"s{seed}"
            )
            client.log_param(run.info.run_id, "optimizer.lr", "0.1")
            for step, value in enumerate((0.5, math.nan if seed else math.inf)):
                client.log_metric(run.info.run_id, "val/loss", value, 1, step)
            client.set_terminated(run.info.run_id, status, 1)
    client.delete_run(run.info.run_id)
    client.set_terminated(client.create_run(gone, 5).info.run_id, "FINISHED", 1)
    client.delete_experiment(gone)
    return database


def test_a_file_read_by_queries_has_the_runs_that_mlflow_finds(database: Path):
    known, runs = of_database(database)
    by_mlflow = finished._of_mlflow(f"sqlite:///{database}")
    assert known == by_mlflow[0]
    assert sorted(known) == ["Default", "digits", "rates", "text"]
    assert [repr(run) for run in map(_ordered, runs)] == [repr(run) for run in map(_ordered, by_mlflow[1])]
    assert [run.name for run in runs] == ["s0", "s1", "s0"]


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
