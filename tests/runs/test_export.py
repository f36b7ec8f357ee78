"""A trained net as one file: what was written is run again, and answers as the net does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from unlocked import train
from unlocked.config import load_config
from unlocked.data import DATA, RawData, register_data
from unlocked.errors import ConfigError, RunFailed
from unlocked.runs import export as exporting
from unlocked.runs.export import export
from unlocked.runs.opened import as_new, open_trained

MLP = "{name: mlp, hidden: [8]}"


@pytest.fixture
def padded():
    @register_data("padded")
    def padded(source):
        rng = np.random.default_rng(0)
        x, lengths = rng.normal(3, 2, (40, 6, 2)), rng.integers(1, 7, 40)
        return RawData(x, np.arange(40) % 3, normalise="train", lengths_train=lengths)

    yield
    DATA._entries.pop("padded")
    DATA._facts.pop("padded")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    keys = ["model.hidden=[8,8]", "parallel.partition=null", "parallel.engine=inprocess", "parallel.threads=1"]
    keys += ["tracking.uri=off", "tracking.figures=false", "train.epochs=1", "train.probe_every=0"]
    runs = tmp_path_factory.mktemp("export")
    return open_trained(train(load_config("quickstart", [*keys, f"tracking.runs={runs}"])))


def test_a_program_of_torch_takes_raw_inputs_of_any_number(opened, tmp_path):
    assert export(opened, "torch", tmp_path / "net.pt2") < 1e-5
    raw = np.random.default_rng(0).random((7, 1, 8, 8)).astype("float32")
    given = torch.export.load(tmp_path / "net.pt2").module()(torch.from_numpy(raw))
    torch.testing.assert_close(given.detach(), opened.outputs(as_new(opened, raw)), atol=1e-5, rtol=0)


def test_statistics_of_the_training_split_are_part_of_it(opened):
    from dataclasses import replace

    reading = replace(opened.reading, dtype="uint8", mean=[0.25], deviation=[0.5])
    whole = exporting.WithStatistics(opened.net(), reading).eval()
    raw = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)
    with torch.no_grad():
        wanted = opened.net()(reading.numbers("new", raw))
        torch.testing.assert_close(whole(torch.from_numpy(raw).float()), wanted, atol=1e-5, rtol=0)


def test_a_file_that_answers_otherwise_is_refused(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_bytes_of", lambda program, kind: b"")
    monkeypatch.setattr(exporting, "_run", lambda path, kind, inputs: torch.ones(len(inputs["x"]), 10) * 9)
    with pytest.raises(RunFailed, match=r"net.pt2: its outputs are .* away from those of the net"):
        export(opened, "torch", tmp_path / "net.pt2")


@pytest.mark.parametrize(
    "model", ["{name: gru, hidden: [6]}", "{name: transformer, width: 8, heads: 2, depth: 1}", MLP]
)
def test_sequences_are_given_with_their_lengths(small, padded, tmp_path, model):
    run = train(small("data={name: padded, batch_size: 8}", f"model={model}", "parallel.modules=1", "train.epochs=1"))
    opened = open_trained(run)
    assert export(opened, "torch", tmp_path / "net.pt2") < 1e-5
    x, lengths = np.random.default_rng(1).normal(3, 2, (5, 6, 2)).astype("float32"), np.array([1, 6, 3, 2, 5])
    wanted = opened.outputs(as_new(opened, {"x": x, "lengths": lengths}))
    x[np.arange(6) >= lengths[:, None]] = 77.0
    given = torch.export.load(tmp_path / "net.pt2").module()(torch.from_numpy(x), torch.from_numpy(lengths))
    torch.testing.assert_close(given.detach(), wanted, atol=1e-5, rtol=0)
    assert as_new(opened, {"x": x}).notes[:1] == [
        "inputs: says no lengths, so every sequence is read to its end; an array `lengths` says where each ends"
    ]
    x[0, -1] = np.nan  # after the end
    torch.testing.assert_close(opened.outputs(as_new(opened, {"x": x, "lengths": lengths})), wanted)


def test_without_onnx_the_command_says_what_to_install(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx needs onnx and onnxscript and onnxruntime.*pip install 'unlocked\[ex"):
        export(opened, "onnx", tmp_path / "net.onnx")


def test_onnx_answers_as_the_net_does(opened, tmp_path):
    for name in exporting.NEEDS["onnx"]:
        pytest.importorskip(name)
    assert export(opened, "onnx", tmp_path / "net.onnx") < 1e-4


@pytest.mark.slow("a writer of its own sends the run to a store, MLflow reads it back")
def test_a_registered_version_is_the_run(runs, monkeypatch):
    from unlocked.runs.register import register

    keys = ["model.hidden=[8,8]", "parallel.partition=null", "parallel.engine=inprocess", "train.epochs=1"]
    summary = train(load_config("quickstart", [*keys, "tracking.figures=false", f"tracking.runs={runs}"]))
    run = Path(summary["run_dir"])
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
        monkeypatch.setenv(name, "0")  # so that what it sets is taken back
    assert register(run, "digits") == "models:/digits/1"
    assert register(run, "digits") == "models:/digits/2"
    import mlflow

    tags = mlflow.MlflowClient().get_run(summary["mlflow_run_id"]).data.tags
    assert '"artifact_path": "model"' in tags["mlflow.log-model.history"]
    x = np.zeros((2, 1, 8, 8))
    for address in ("models:/digits/2", f"runs:/{summary['mlflow_run_id']}/model"):
        table = mlflow.pyfunc.load_model(address).predict(x)
        assert table["prediction"].tolist() == open_trained(run).table(as_new(open_trained(run), x))["prediction"]


def test_a_run_in_no_store_cannot_be_registered(opened):
    from unlocked.runs.register import register

    with pytest.raises(ConfigError, match=r"--register: 'a/b' is no name of a model"):
        register(opened.run, "a/b")
    with pytest.raises(ConfigError, match="is in no MLflow store"):
        register(opened.run, "digits")
