"""Binary, multi-label and ordinal targets: what data they take, their metrics, and which schemes train them."""

import numpy as np
import pytest
import torch

from unlocked import RawData, load_config, register_data, train
from unlocked.data import DATA
from unlocked.errors import DataError
from unlocked.tasks import TASKS, load
from unlocked_models import Batch, Example

N = 240


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(DATA, kept, dict(getattr(DATA, kept)))
    x = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
    sums = x[:, :2].sum(1)

    @register_data("toolbox_binary", task="binary_classification")
    def binary(source):
        return RawData(x, (sums > 0).astype(int), class_names=["positive"])

    @register_data("toolbox_labels", task="multi_label")
    def labels(source, wrong: bool = False):
        return RawData(x, (x[:, :3] > 0).astype(int) * (1 + wrong))

    @register_data("toolbox_grades", task="ordinal")
    def grades(source):
        return RawData(x, np.digitize(sums, [-1, 0, 1]), class_names=["low", "fair", "good", "best"])


def configured(tmp_path, data, *more):
    overrides = ["task=null", f"data={{name: {data}, batch_size: 16}}", "model={name: mlp, hidden: [16, 16]}"]
    overrides += [f"tracking.runs={tmp_path}", "tracking.uri=off", "tracking.figures=false", "train.epochs=6"]
    return load_config(
        "quickstart",
        [*overrides, "optimizer.lr=0.01", "parallel={modules: 2, partition: null, engine: inprocess}", *more],
    )


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa", "local"])
@pytest.mark.parametrize(
    ("data", "metric", "least"),
    [("toolbox_binary", "accuracy", 0.7), ("toolbox_labels", "f1", 0.6), ("toolbox_grades", "accuracy", 0.36)],
)
def test_every_scheme_trains_labels_and_grades(tmp_path, data, metric, least, scheme):
    summary = train(configured(tmp_path, data, f"scheme.name={scheme}"))
    assert summary["metrics"][f"test/{metric}"] >= least


def test_similarities_are_of_labels_too(tmp_path):
    config = configured(tmp_path, "toolbox_labels", "scheme.name=local", "scheme.local.kind=predsim", "train.epochs=1")
    assert 0 <= train(config)["metrics"]["test/f1"] <= 1


def test_data_are_read_as_their_task_says():
    labels, grades = load("toolbox_labels"), load("toolbox_grades")
    assert labels.train.y.dtype == torch.float32
    assert (labels.n_outputs, labels.example.y_real) == (3, True)
    assert grades.class_names == ["above low", "above fair", "above good"]
    assert load("toolbox_binary").train.y.shape[1:] == (1,)
    with pytest.raises(DataError, match=r"y_train is int64 of shape \(240, 3\); it needs zeros and ones of shape"):
        load("toolbox_labels", wrong=True)


def test_metrics_of_labels_are_counted_by_hand():
    out = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = TASKS.get("multi_label")().metrics(out, y)
    assert (found["accuracy"], found["exact"]) == (6 / 8, 2 / 4)
    assert found["f1"] == pytest.approx((1 / 2 + 1.0) / 2)  # of the first label one right, one wrong, one missed


def test_an_ordinal_class_is_how_many_boundaries_lie_below():
    task = TASKS.get("ordinal")()
    out = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
    y = torch.tensor([2, 2])
    found = task.metrics(out, y)
    assert (found["mae"], found["accuracy"]) == (1.0, 0.5)
    q = out.sigmoid()
    nats = -(torch.cat([q[:, :2].log(), (1 - q[:, 2:]).log()], 1)).mean()
    assert found["loss"] == pytest.approx(float(nats), rel=1e-12)
    context = task.context(Batch(None, y), Example((4,), 3), q)
    assert context.tolist() == [[1, 1, 0], [1, 1, 0]]
