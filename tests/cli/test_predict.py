"""`unlocked predict`: tables to a pipe and to files, faults in one line with their exit code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from unlocked.config import load_config
from unlocked.loop.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    keys = ["model.hidden=[8,8]", "parallel.partition=null", "parallel.engine=inprocess", "parallel.threads=1"]
    keys += ["tracking.uri=off", "tracking.figures=false", "train.epochs=1", "train.probe_every=0"]
    return train(load_config("quickstart", [*keys, f"tracking.runs={folder}"]))["run_dir"]


def test_predictions_go_to_a_pipe_to_files_and_to_json(unlocked, run):
    np.savez("new.npz", x=np.random.default_rng(0).random((3, 1, 8, 8)))
    piped = unlocked("predict", run, "new.npz")
    assert (piped.code, piped.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(piped.out)))
    assert [row["row"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["probability"]) == max(float(rows[0][f"p({c})"]) for c in range(10))
    assert unlocked("predict", run, "new.npz", "--out", "found.csv").code == 0
    assert Path("found.csv").read_text() == piped.out
    table = json.loads(unlocked("predict", run, "new.npz", "--json").out)
    assert table["prediction"] == [row["prediction"] for row in rows]
    import pyarrow.parquet

    assert unlocked("predict", run, "new.npz", "--out", "found.parquet").code == 0
    assert pyarrow.parquet.read_table("found.parquet").to_pydict() == table
    assert unlocked("predict", run, "new.npz", "--output", "found.jsonl").code == 0
    lines = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert lines == [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    assert unlocked("predict", run, "new.npz", "--out", "raw.npz").code == 0
    with np.load("raw.npz") as raw:
        assert raw["outputs"].argmax(1).tolist() == [int(each) for each in table["prediction"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "lost.csv"], "lost.csv: is no file"),
        (["RUN", "a" * 300 + ".csv"], "File name too long"),
        (
            ["RUN", "new.npz", "--out", "found.xls"],
            "--out: found.xls does not end in .csv or .parquet or .jsonl or .json or .npz",
        ),
        (["RUN", "new.npz", "--out", "no/found.csv"], "no/found.csv is not there"),
        (["no_run", "new.npz"], "no_run is not a run folder"),
        (["RUN", "new.npz", "--id", "name"], "--id: new.npz is no table, and has no column 'name'"),
        (["RUN", "new.npz", "--continuation", "3"], "a run of classification goes on with no text"),
        (["RUN", "new.npz", "--continuation", "-3"], "--continuation: must be at least 1, got -3"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(unlocked, run, words, said):
    np.savez("new.npz", x=np.zeros((1, 1, 8, 8)))
    done = unlocked("predict", *(run if word == "RUN" else word for word in words))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_an_export_says_how_near_its_outputs_are(unlocked, run, monkeypatch):
    from unlocked.runs import export

    monkeypatch.setattr(export, "export", lambda opened, kind, path, net: 1e-7)
    done = unlocked("export", run, "--out", "net.onnx")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("net.onnx (run again: outputs within 1.0e-07 of the net's)\n")
    assert unlocked("export", run).out.startswith(f"{run}/exported.pt2 ")
    done = unlocked("export", run, "--format", "torch", "--out", "net.onnx")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "net.onnx does not end in .pt2" in done.err
    assert unlocked("export", run, "--register", "a/b").code == 2


def begun(folder, *keys):
    fixed = ["parallel.engine=inprocess", "parallel.partition=null", "parallel.modules=1", "parallel.threads=1"]
    fixed += ["tracking.uri=off", "tracking.figures=false", "train.epochs=1", "train.probe_every=0"]
    return train(load_config("quickstart", [*fixed, "scheme.name=backprop", f"tracking.runs={folder}", *keys]))[
        "run_dir"
    ]


def test_pairs_texts_and_rows_by_their_name(unlocked, tmp_path):
    words = [a + b + c for a in "abcd" for b in "aef" for c in "abcd"]
    Path("pairs.tsv").write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in words))
    options = f"{{file: {tmp_path}/pairs.tsv, source_tokens: char, target_tokens: spaces}}"
    model = "model={name: seq2seq, width: 8, embedding: 4}"
    run = begun(tmp_path, model, f"data={{name: pairs, batch_size: 8, options: {options}}}")
    Path("new.tsv").write_text("speaker\tsource\nann\tcab\nbob\tabc\n")
    table = json.loads(unlocked("predict", run, "new.tsv", "--id", "speaker", "--json").out)
    assert table["speaker"] == ["ann", "bob"]
    assert set(" ".join(table["prediction"]).split()) <= set("ABCDEF")
    Path("new.txt").write_text("cab\nabc\n")
    assert json.loads(unlocked("predict", run, "new.txt", "--json").out)["prediction"] == table["prediction"]
    Path("my.txt").write_text("abcdefgh" * 40)
    options = f"{{file: {tmp_path}/my.txt, length: 8}}"
    model = "model={name: gpt, width: 8, depth: 1, heads: 1}"
    run = begun(tmp_path, model, f"data={{name: text, batch_size: 8, options: {options}}}")
    table = json.loads(unlocked("predict", run, "new.txt", "--continuation", "5", "--json").out)
    assert [len(text) for text in table["continuation"]] == [5, 5]
    assert [text[0] for text in table["continuation"]] == table["prediction"]
    refused = unlocked("predict", run, "new.tsv", "--id", "age")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_links_that_a_graph_lacks_are_named(unlocked, tmp_path):
    pytest.importorskip("torch_geometric")
    run = begun(tmp_path, "task=link_prediction", "data={name: links, batch_size: 1}", "model={name: gcn, hidden: [4]}")
    edges = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    np.savez("new.npz", x=np.eye(77), edge_index=edges)
    table = json.loads(unlocked("predict", run, "new.npz", "--json").out)
    assert table["node"] == list(range(77))
    known = {(int(a), int(b)) for a, b in np.concatenate([edges, edges[::-1]], 1).T}
    assert not known & set(zip(table["node"], table["prediction"], strict=True))
    assert all(a != b for a, b in zip(table["node"], table["prediction"], strict=True))


def test_what_a_class_is_called_gives_no_orders_to_the_terminal_that_a_pipe_ends_in():
    from unlocked.cli.predict import _as_csv
    from unlocked.security.names import without_controls

    table = {"p(\x1b[2J)": [0.5], "prediction": ["a\x1b]0;b\x07"]}
    assert _as_csv(table, without_controls) == "p( [2J),prediction\n0.5,a ]0;b \n"
    assert "\x1b" in _as_csv(table)
