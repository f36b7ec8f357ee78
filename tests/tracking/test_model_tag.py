"""A folder of artifacts that is a model is told as one: MLflow's page then shows its schema and how to ask it."""

import json
import sys
from types import SimpleNamespace

from unlocked.tracking.sink import Sink


def test_a_model_s_folder_is_told_as_one_and_no_other_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", SimpleNamespace(MlflowException=ConnectionError))  # seconds
    sent, tags = [], {}
    for name, text in (("model/MLmodel", '{"model_uuid": "7", "flavors": {}}'), ("figures/a.png", ""), ("c.yaml", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    sink = Sink(tmp_path, "sqlite:///none", "digits", tmp_path)
    sink.run_id = "r1"
    sink._client = SimpleNamespace(
        log_artifacts=lambda *given: sent.append(given),
        log_artifact=lambda *given: sent.append(given),
        set_tag=lambda run, key, value: tags.update({key: json.loads(value)}),
    )
    for path, folder in (("figures", "figures"), ("c.yaml", "")):
        sink.artifact(path, folder)
    assert tags == {}
    for _ in range(2):  # sent again after a crash
        sink.artifact("model", "model")
    assert len(sent) == 4
    (entry,) = tags["mlflow.log-model.history"]
    assert (entry["run_id"], entry["artifact_path"], entry["model_uuid"]) == ("r1", "model", "7")
