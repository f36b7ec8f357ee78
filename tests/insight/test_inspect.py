"""`unlocked inspect` of runs on digits, sequences and texts: files, table, bars, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unlocked.cli.main import main
from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.insight import Request, inspect, open_run
from unlocked.insight.looking import of_every_class
from unlocked.loop.train import train
from unlocked.security import sign
from unlocked.tracking.after import add_to_finished
from unlocked.tracking.spool import read, records

COMMON = [
    "tracking.uri=off",
    "tracking.figures=false",
    "parallel.threads=1",
    "parallel.engine=inprocess",
    "train.probe_every=0",
    "parallel.partition=null",
]
RUNS = {
    "backprop": ["scheme.name=backprop", "train.epochs=10"],
    "dfa": ["scheme.name=dfa", "train.epochs=2"],
    "rows": ["data.name=mnist1d", "model={name: mlp, hidden: [16]}", "scheme.name=backprop", "train.epochs=1"],
    "codes": ["task=reconstruction", "model={name: autoencoder, hidden: [], code: 2}", "train.epochs=1"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: Path(train(load_config("quickstart", [*COMMON, f"tracking.runs={folder}", *overrides]))["run_dir"])
        for name, overrides in RUNS.items()
    }


def test_digits_fall_under_pgd_and_not_under_random_signs(runs):
    """Bars: PGD's accuracy is at most FGSM's at equal epsilon; at .2, of the 360 test digits, at most .10 is left of
    backprop's net, measured .003."""
    report = inspect(
        [open_run(runs["backprop"])], [], Request((0.05, 0.1, 0.2), shown=1), runs["backprop"] / "elsewhere"
    )
    left = {(each.attack, each.epsilon): each.accuracy for each in report.found}
    assert left["none", 0.0] > 0.9
    for epsilon in (0.05, 0.1, 0.2):
        assert left["pgd", epsilon] <= left["fgsm", epsilon] < left["noise", epsilon]
    assert left["pgd", 0.2] <= 0.10
    assert left["noise", 0.2] > 0.6
    assert report.completeness[runs["backprop"].name] < 0.05


def test_the_command_writes_figures_and_a_table_and_compares_runs(runs, capsys, tmp_path):
    words = [str(runs["backprop"]), str(runs["dfa"]), "--against", str(runs["dfa"]), "--epsilon", "0.1"]
    assert (
        main(["inspect", *words, "--examples", "60", "--steps", "2", "--show", "1", "--out", str(tmp_path), "--json"])
        == 0
    )
    out, said = capsys.readouterr()
    made = json.loads(out)
    assert all(word in said for word in ("as it is", "ε 0.1", "\nAccuracy. noise: random signs"))
    for run in ("backprop", "dfa"):
        for name in ("filters.png", "attributions.png", "adversarial.png"):
            assert (tmp_path / runs[run].name / name).read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "robustness.png").is_file()
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert rows[0] == "made,shown,scheme,attack,epsilon,accuracy"
    pairs = {(row["made"], row["shown"]) for row in made["table"]}
    first, second = runs["backprop"].name, runs["dfa"].name
    assert pairs == {(first, first), (first, second), (second, second)}
    assert len(rows) - 1 == len(made["table"]) == 2 * (1 + 3) + 3


def test_a_figure_shows_examples_of_every_class():
    y = torch.tensor([1, 1, 1, 0, 0, 3])
    assert of_every_class(y, 4).tolist() == [3, 0, 5, 4]
    assert of_every_class(y, 9).tolist() == [3, 0, 5, 4, 1, 2]
    assert of_every_class(y[:0], 2).tolist() == []


def test_a_target_counts_hits(runs, tmp_path):
    report = inspect([open_run(runs["backprop"], examples=80)], [], Request((0.2,), target="3", shown=1), tmp_path)
    hit = {each.attack: each.hit for each in report.found}
    assert hit["pgd"] > 0.5 > hit["none"]


def test_series_are_attacked_too(runs, tmp_path):
    report = inspect([open_run(runs["rows"], examples=40)], [], Request((0.1,), steps=2, shown=1), tmp_path)
    assert {path.name for path in report.files} == {
        "filters.png",
        "attributions.png",
        "adversarial.png",
        "robustness.png",
        "table.csv",
    }


def test_two_runs_of_one_name_are_not_mistaken_for_each_other(runs, tmp_path):
    one = open_run(runs["dfa"], examples=2)
    other = replace(one, run=tmp_path / one.run.name)
    with pytest.raises(ConfigError, match=r"has the name of .*; rename the folder of one"):
        inspect([one, other], [], Request((0.1,), shown=1), tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["codes"], "{codes}: a run of reconstruction is no classifier; inspect looks into runs of classification"),
        (["backprop", "rows"], "{rows}: its examples are not those of {backprop}: runs that are inspected together"),
        (["backprop", "--epsilon", "2"], "--epsilon: must be greater than 0 and at most 1, got 2"),
        (["backprop", "--steps", "0"], "--steps: must be at least 1, got 0"),
        (["backprop", "--target", "²"], "--target: '²' is no class of digits (known: 0, 1, 2"),
        (["backprop", "--out", "{codes}/config.yaml"], "--out: {codes}/config.yaml cannot be made: File exists"),
        (["backprop", "--target", "eleven"], "--target: 'eleven' is no class of digits (known: 0, 1, 2"),
        (["nowhere"], "{folder}/nowhere is not a run folder"),
    ],
)
def test_wrong_words_are_one_line(runs, words, message, capsys):
    folder = runs["codes"].parent
    first = [str(runs.get(word, folder / word)) if i == 0 or word in runs else word for i, word in enumerate(words)]
    first = [word.format(**runs) for word in first]
    assert main(["inspect", *first]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith(f"unlocked: {message.format(folder=folder, **runs)}")


def test_what_is_added_to_a_run_goes_the_way_of_its_records(runs, tmp_path):
    """To a run that goes to a store alone: files, figures at its last step, and the end that it had, again."""
    run, file = runs["dfa"], runs["dfa"] / "inspect" / "table.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("x\n")
    spool = run / "tracking" / "spool.jsonl"
    before = list(records(spool))
    assert add_to_finished(run, [file], "inspect", {"inspect/clean": 0.5}) is None
    assert list(records(spool)) == before, "a run whose tracking is off gets nothing"
    target = {"uri": "sqlite:////nowhere/mlflow.db", "experiment": "x", "runs_root": str(run.parent)}
    (run / "tracking" / "target.json").write_text(json.dumps(sign(target)))
    assert add_to_finished(run, [file], "inspect", {"inspect/clean": 0.5}) is None
    artifact, metric, end = list(records(spool))[len(before) :]
    assert (artifact["path"], artifact["folder"]) == ("inspect/table.csv", "inspect")
    assert {key: value for key, value in end.items() if key != "crc"} == {
        key: value for key, value in before[-1].items() if key != "crc"
    }
    last = max(step for points in read(run).values() for step, _ in points)
    assert metric["values"] == {"inspect/clean": 0.5}
    assert metric["step"] == last > 0
