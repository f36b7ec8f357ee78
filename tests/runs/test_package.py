"""A run as an MLflow model: loaded and served by MLflow's own code, with the outputs of the run's evaluation."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from unlocked import load, resume, train
from unlocked.config import load_config
from unlocked.data import DATA, RawData, register_data
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.opened import predict
from unlocked.schema.keys import DataConfig
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    keys = ["model.hidden=[8,8]", "parallel.partition=null", "parallel.engine=inprocess", "parallel.threads=1"]
    keys += ["tracking.uri=off", "tracking.figures=false", "train.epochs=1", "train.probe_every=0"]
    return load_config("quickstart", [*keys, f"tracking.runs={tmp_path_factory.mktemp('package')}"])


@pytest.fixture(scope="module")
def summary(config):
    return train(config)


@pytest.fixture
def mlflow_model(monkeypatch, tmp_path):
    for name, value in {**MLFLOW_ENVIRONMENT, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'm.db'}"}.items():
        monkeypatch.setenv(name, value)
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    import mlflow.pyfunc

    return lambda summary: mlflow.pyfunc.load_model(f"{summary['run_dir']}/model")


def test_mlflow_loads_it_and_gives_what_the_run_was_tested_on(summary, config, mlflow_model):
    model, data = mlflow_model(summary), load_data(config)
    raw = data.test.x.numpy().astype("float64")
    table = model.predict(raw)
    right = [name == data.class_names[y] for name, y in zip(table["prediction"], data.test.y.tolist(), strict=True)]
    assert np.mean(right) == summary["metrics"]["test/accuracy"]
    with torch.no_grad():
        wanted = load(summary)(data.test.x).numpy()
    np.testing.assert_allclose(model.predict(raw, params={"outputs": "raw"}), wanted, atol=1e-5)
    assert list(table.columns) == model.metadata.signature.outputs.input_names()


def test_the_scoring_server_answers_its_own_example(summary, mlflow_model):
    from mlflow.pyfunc.scoring_server import init
    from starlette.testclient import TestClient

    model = mlflow_model(summary)
    request = json.loads((Path(summary["run_dir"]) / "model" / "serving_input_example.json").read_text())
    client = TestClient(init(model))
    answer = client.post("/invocations", json=request)
    assert answer.status_code == 200, answer.text
    wanted = pandas.DataFrame(predict(summary, np.array(request["inputs"])))
    assert pandas.DataFrame(answer.json()["predictions"]).round(9).equals(wanted.round(9))
    raw = client.post("/invocations", json={**request, "params": {"outputs": "raw"}}).json()["predictions"]
    assert np.array(raw).argmax(1).tolist() == [int(each) for each in wanted["prediction"]]
    assert client.post("/invocations", json={"inputs": [[1.0]]}).status_code == 400


def test_it_holds_safetensors_that_take_no_room_and_nothing_pickled(summary):
    run = Path(summary["run_dir"])
    files = [path for path in (run / "model").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".pth", ".bin")]
    (weights,) = (path for path in files if path.suffix == ".safetensors")
    assert any(os.path.samefile(weights, kept) for kept in (run / "checkpoints").rglob("model.safetensors"))
    assert (run / "model" / "MLmodel").read_text().count("unlocked.runs.served") == 1


def test_texts_are_asked_in_a_column(config, mlflow_model, tmp_path):
    keys = ["parallel.engine=inprocess", "tracking.uri=off", "tracking.figures=false", "train.steps=2"]
    keys += [
        "train.probe_every=0",
        "data.options={length: 8, vocabulary: 200}",
        "data.examples=64",
        "data.validation=0",
    ]
    summary = train(load_config("recurrent/gru", [*keys, f"tracking.runs={tmp_path}"]))
    model = mlflow_model(summary)
    texts = ["read the file", "a class for it"]
    assert (
        model.predict(pandas.DataFrame({"text": texts}))["prediction"].tolist()
        == (predict(summary, texts)["prediction"])
    )
    assert list(model.input_example.columns) == ["text"]


def test_a_table_is_asked_by_the_names_of_its_columns(monkeypatch, config, mlflow_model, tmp_path):
    monkeypatch.setattr(DATA, "_entries", dict(DATA._entries))
    monkeypatch.setattr(DATA, "_facts", dict(DATA._facts))

    @register_data("people_of_package")
    def people_of_package(source):
        x = np.random.default_rng(0).normal(size=(200, 2))
        return RawData(x, (x[:, 0] > 0).astype(int), features=["age", "income"], normalise="train")

    summary = train(replace(config, data=DataConfig(name="people_of_package", batch_size=20)))
    model = mlflow_model(summary)
    table = pandas.DataFrame({"income": [0.0, 1.0], "age": [1.0, -1.0]})
    wanted = predict(summary, np.array([[1.0, 0.0], [-1.0, 1.0]]))["prediction"]
    assert model.predict(table)["prediction"].tolist() == wanted
    assert model.predict(model.input_example).shape[0] == 2
    with pytest.raises(Exception, match="missing inputs"):
        model.predict(table[["age"]])


def test_the_folder_of_somebody_else_has_no_code_imported(summary, tmp_path):
    shutil.copytree(Path(summary["run_dir"]) / "model" / "data", tmp_path / "data")
    (tmp_path / "evil_of_package.py").write_text("raise SystemExit('imported')")
    needs = {"place": "", "folder": "", "imports": [{"name": "evil_of_package", "folder": str(tmp_path)}]}
    (tmp_path / "data" / "needs.json").write_text(json.dumps(needs))
    with pytest.raises(ConfigError, match="may not have code imported here"):
        load(tmp_path / "data")


def test_a_run_of_an_older_version_is_a_model_once_it_has_gone_on(config):
    run = Path(train(config)["run_dir"])
    (run / "inputs.json").unlink()
    shutil.rmtree(run / "model")
    resume(run)
    assert (run / "inputs.json").is_file()
    assert (run / "model" / "MLmodel").is_file()
