from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from unlocked.comparing.rows import Row, compare
from unlocked.comparing.table import render, to_csv
from unlocked.errors import ConfigError, UnlockedError

ACCURACY = {
    ("dni", "0"): 0.90, ("dni", "1"): 0.92, ("dni", "2"): 0.94,
    ("backprop", "0"): 0.97, ("backprop", "1"): 0.99,
    ("frozen", "0"): 0.99,                        # a control stays last, however it does
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    from mlflow import MlflowClient

    root = tmp_path_factory.mktemp("runs")
    shutil.copy(empty_database, root / "mlflow.db")
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    clock = iter(range(1, 100))

    def run(experiment: str, accuracy: float, status: str = "FINISHED", **tags: str) -> None:
        dotted = {key.replace("__", "."): value for key, value in tags.items()}
        made = client.create_run(experiment, next(clock), tags=dotted)
        for key, value in {"test/accuracy": accuracy, "time/wait_fraction/module_0": 0.1,
                           "time/wait_fraction/module_1": 0.3}.items():  # fmt: skip
            client.log_metric(made.info.run_id, key, value, 1, 1)
        client.set_terminated(made.info.run_id, status, 1)

    digits = client.create_experiment("digits")
    run(digits, 0.1, model="mlp", scheme="dni", seed="0")  # superseded
    for (scheme, seed), accuracy in ACCURACY.items():
        run(digits, accuracy, model="mlp", scheme=scheme, seed=seed)
    run(digits, 0.0, "FAILED", model="mlp", scheme="dni", seed="3")
    run(digits, 0.0, model="mlp", scheme="dni", seed="4", name="rates", mlflow__parentRunId="x")  # a trial of a sweep
    lags = client.create_experiment("lags")
    run(lags, 0.8, model="mlp", scheme="dni", seed="0", lag="1")
    run(lags, 0.6, model="mlp", scheme="dni", seed="0", lag="4")
    pipes = client.create_experiment("pipes")
    run(pipes, 0.8, model="mlp", scheme="backprop", seed="0", parallel__schedule="locked")
    run(pipes, 0.8, model="mlp", scheme="backprop", seed="0", parallel__schedule="gpipe")
    return root


def test_rows_are_means_over_seeds_with_the_control_last(root: Path):
    rows = compare(root, "digits")
    assert [row.group["scheme"] for row in rows] == ["backprop", "dni", "frozen"]
    dni = rows[1].summary("test/accuracy")
    assert (dni.n, dni.low, dni.high) == (3, 0.90, 0.94)
    assert dni.mean == pytest.approx(0.92)
    assert dni.std == pytest.approx(0.02)
    assert rows[1].summary("time/wait_fraction").mean == pytest.approx(0.2)
    assert rows[0].summary("best/val_accuracy") is None


def test_of_a_repeated_seed_the_latest_run_counts_and_the_others_are_counted(root: Path):
    rows = {row.group["scheme"]: row for row in compare(root, "digits")}
    assert (rows["dni"].superseded, rows["backprop"].superseded) == (1, 0)
    assert rows["dni"].seeds["0"]["test/accuracy"] == 0.90


def test_runs_with_another_lag_are_never_averaged_together(root: Path):
    rows = compare(root, "lags")
    assert [(row.group["lag"], row.superseded) for row in rows] == [("1", 0), ("4", 0)]
    assert rows[0].label == "mlp dni lag 1"


def test_runs_under_another_pipeline_schedule_are_never_averaged_together(root: Path):
    rows = compare(root, "pipes")
    assert [(row.label, row.superseded) for row in rows] == [
        ("mlp backprop parallel.schedule gpipe", 0),
        ("mlp backprop parallel.schedule locked", 0),
    ]


def test_trials_of_a_sweep_count_only_when_asked_for(root: Path):
    rows = {row.group["scheme"]: row for row in compare(root, "digits", trials=True)}
    assert len(rows["dni"].seeds) == 4


def test_a_label_names_numbers_and_leaves_out_what_a_group_does_not_have():
    row = Row({"scheme": "dni", "lag": "4", "modules": "-", "optimizer.lr": "0.1"})
    assert row.label == "dni lag 4 optimizer.lr 0.1"


def test_the_table_marks_the_control_and_tells_what_was_superseded(root: Path):
    console = Console(file=io.StringIO(), width=200)
    console.print(render(compare(root, "digits")))
    text = console.file.getvalue()
    assert "92.0 ± 2.0% [90.0, 94.0]" in text
    assert "frozen (control)" in text
    assert "1 earlier run of a repeated seed superseded" in text
    assert "[lowest, highest]" in text
    console.print(render([]))


def test_the_csv_holds_every_number(root: Path, tmp_path: Path):
    with to_csv(compare(root, "digits"), tmp_path / "out" / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["scheme"] for line in lines] == ["backprop", "dni", "frozen"]
    assert float(lines[1]["test/accuracy mean"]) == pytest.approx(0.92)
    assert (lines[1]["seeds"], lines[1]["superseded"]) == ("3", "1")


def test_an_unknown_experiment_names_the_known_ones(root: Path):
    with pytest.raises(ConfigError, match=r"no experiment 'digit' in .*known: .*digits"):
        compare(root, "digit")


def test_a_name_of_runs_that_is_given_as_an_experiment_is_told_to_be_one(root: Path):
    with pytest.raises(ConfigError, match=r"no experiment 'rates' .*; runs and studies of that name: --name rates$"):
        compare(root, "rates")


def test_an_unknown_group_is_refused(root: Path):
    with pytest.raises(ConfigError, match="no run has a tag or param 'shceme'"):
        compare(root, "digits", group_by=("shceme",))


def test_without_a_database_the_next_step_is_named(tmp_path: Path):
    with pytest.raises(UnlockedError, match=r"no tracking database at .*train something first.* --runs DIR"):
        compare(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_away_is_one_line_at_once(free_port: int):
    with pytest.raises(UnlockedError, match="nobody answers") as caught:
        compare(f"http://u:pw@127.0.0.1:{free_port}")
    assert "pw" not in str(caught.value)
    assert "\n" not in str(caught.value)
