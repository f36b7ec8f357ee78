"""Metrics by name: the whole split at once, each as counted by hand or by scikit-learn."""

import pytest
import torch
from sklearn.metrics import f1_score, precision_score, r2_score, recall_score, roc_auc_score

from unlocked import load_config
from unlocked.data import DataSet, Split
from unlocked.decoding.translation import token_error
from unlocked.errors import ConfigError
from unlocked.metrics import higher_is_better, is_known, is_share
from unlocked.tasks import TASKS
from unlocked.tasks.chosen import check_chosen, measured

CLASSES = 4
GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(40) % CLASSES
LOGITS = torch.randn(40, CLASSES, generator=GENERATOR, dtype=torch.float64)


def asked(task, outputs, y, *names):
    split = Split(torch.zeros(len(y), 1), y)
    data = DataSet("made", task, (1,), outputs.shape[1], [], split, None, split)
    return measured(TASKS.get(task)(), outputs, data, "test", names)


def test_classes_are_scored_as_by_hand():
    found = asked("classification", LOGITS, Y, "top_2", "precision", "recall", "f1", "auroc", "calibration")
    given, p = LOGITS.argmax(1), LOGITS.softmax(1)
    best = LOGITS.topk(2).indices
    assert found["top_2"] == pytest.approx((best == Y[:, None]).any(1).double().mean().item())
    for name, by in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[name] == pytest.approx(by(Y, given, average="macro"), abs=1e-6)
    assert found["auroc"] == pytest.approx(roc_auc_score(Y, p, multi_class="ovr"), abs=1e-6)
    sure, right = p.max(1).values, (given == Y).double()
    error = 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        if inside.any():
            error += inside.double().mean() * (sure[inside].mean() - right[inside].mean()).abs()
    assert found["calibration"] == pytest.approx(float(error), abs=1e-6)
    assert found["accuracy"] == right.mean()


def test_labels_are_scored_as_by_hand():
    y = (torch.rand(40, CLASSES, generator=GENERATOR) > 0.5).float()
    found = asked("multi_label", LOGITS, y, "precision", "auroc")
    assert found["precision"] == pytest.approx(precision_score(y, LOGITS > 0, average="macro"), abs=1e-6)
    assert found["auroc"] == pytest.approx(roc_auc_score(y, LOGITS), abs=1e-6)
    one = asked("binary_classification", LOGITS[:, :1], y[:, :1], "recall", "auroc", "calibration")
    assert one["recall"] == pytest.approx(recall_score(y[:, 0], LOGITS[:, 0] > 0), abs=1e-6)
    assert one["auroc"] == pytest.approx(roc_auc_score(y[:, 0], LOGITS[:, 0]), abs=1e-6)


def test_values_are_scored_as_by_hand():
    y = LOGITS[:, :2] + torch.randn(40, 2, generator=GENERATOR)
    found = asked("regression", LOGITS[:, :2], y, "mse", "explained_variance")
    assert found["mse"] == pytest.approx((LOGITS[:, :2] - y).square().mean().item())
    assert found["r2"] == pytest.approx(r2_score(y.numpy(), LOGITS[:, :2].numpy()))


def test_only_nodes_that_are_asked_for_count():
    y = torch.tensor([[0, 1, -1, 2], [-1, 3, 0, -1]])
    logits = torch.randn(2, 4, CLASSES, generator=GENERATOR)
    split = Split(torch.zeros(2, 4, 1), y)
    data = DataSet("made", "node_classification", (4, 1), CLASSES, [], split, None, split)
    found = measured(TASKS.get("node_classification")(), logits, data, "test", ["top_2"])
    best = logits.topk(2).indices
    assert found["top_2"] == pytest.approx((best == y[..., None]).any(-1)[y >= 0].double().mean().item())


def test_the_token_error_is_the_edit_distance_over_the_length_of_the_references():
    wanted = torch.tensor([[5, 6, 7, 2, 0], [5, 5, 2, 0, 0]])
    written = torch.tensor([[5, 7, 2, 0, 0], [6, 5, 8, 2, 0]])  # one left out; one replaced and one put in
    assert token_error(written, wanted) == pytest.approx(3 / 5)


def test_the_direction_of_each_is_known():
    names = ["top_5", "precision", "recall", "f1", "auroc", "calibration", "token_error", "explained_variance"]
    assert [name for name in names if not higher_is_better(f"val/{name}")] == ["calibration", "token_error"]
    assert all(is_known(f"test/{name}") for name in names)
    assert is_share("val/top_5")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["metrics=[f2]"], "metrics[0]: unknown metric of classification 'f2' (known: accuracy, auroc, "),
        (["metrics=[f1,top_0]"], "metrics[1]: unknown metric of classification 'top_0'"),
        (["metrics=[r2]"], "metrics[0]: unknown metric of classification 'r2'"),
    ],
)
def test_what_is_no_metric_of_the_task_is_one_line(overrides, line):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", overrides)
    assert str(error.value).startswith(line)


def test_more_of_the_likeliest_than_there_are_classes_is_refused():
    with pytest.raises(ConfigError, match=r"^metrics\[0\]: top_10 is always right, the data has 10 classes$"):
        check_chosen(["top_10"], TASKS.get("classification"), 10)
