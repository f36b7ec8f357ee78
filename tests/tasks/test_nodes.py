"""Classes of nodes, of which only some are asked for."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from unlocked.data import DATA, RawData, register_data
from unlocked.errors import DataError
from unlocked.tasks import NodeClassification, load
from unlocked_models import Batch, Example

EXAMPLE = Example((4, 2), 3, y_shape=(4,))
Y = torch.tensor([[2, -1, 0, -1], [-1, 1, -1, -1]])
OUTPUT = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
ASKED = [(0, 0), (0, 2), (1, 1)]


def test_the_loss_is_the_mean_over_the_nodes_that_are_asked_for():
    task = NodeClassification()
    nats = [-float(OUTPUT[i, n].log_softmax(-1)[Y[i, n]]) for i, n in ASKED]
    assert task.loss(OUTPUT, Y) == pytest.approx(sum(nats) / 3, rel=1e-6)
    halves = [task.part_loss(OUTPUT[i : i + 1], Y[i : i + 1], Y) for i in range(2)]
    assert sum(halves) / 2 == pytest.approx(sum(nats) / 3, rel=1e-6)
    wanted = [int(Y[i, n]) for i, n in ASKED]
    given = [int(OUTPUT[i, n].argmax()) for i, n in ASKED]
    assert task.metrics(task.keep(OUTPUT, Y), Y) == pytest.approx(
        {
            "loss": sum(nats) / 3,
            "accuracy": accuracy_score(wanted, given),
            "macro_f1": f1_score(wanted, given, average="macro"),
        }
    )


def test_a_minibatch_without_a_label_costs_nothing():
    assert NodeClassification().loss(OUTPUT, torch.full_like(Y, -1)) == 0


def test_the_scale_of_m_is_the_number_of_real_targets():
    """Of each example on average, and of a replica's part of a minibatch that of all of it."""
    task = NodeClassification()
    assert task.terms_of(Batch(None, Y), None, EXAMPLE) == 1.5
    assert task.terms_of(Batch(None, Y[:1]), Y, EXAMPLE) == 1.5
    assert task.terms(EXAMPLE) == 4


def test_what_conditions_m_says_nothing_of_other_nodes():
    context = NodeClassification().context(Batch(None, Y), EXAMPLE, torch.zeros(1, dtype=torch.float64))
    assert context.dtype == torch.float64
    assert context.nonzero().tolist() == [[0, 0, 2], [0, 2, 0], [1, 1, 1]]
    assert NodeClassification().context_shape(EXAMPLE) == context.shape[1:]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.array([0, 1, 0]), r"y_train is int64 of shape \(3,\); a graph has features \(n, nodes, features\)"),
        (np.array([[0.0, 1.0]] * 3), "y_train is float64"),
        (np.full((3, 2), -1), "y_train asks for no node"),
        (np.array([[0, -1], [2, -1], [-1, -1]]), "has no example of class 1"),
        (np.array([[0, -2], [1, -1], [-1, -1]]), "y_train holds label -2; classes are 0 to 1"),
    ],
)
def test_targets_that_are_none_of_nodes_are_refused(y, words):
    names = ["a", "b"] if -2 in y else None
    register_data("mine", task="node_classification")(lambda source: RawData(np.ones((3, 2, 5)), y, class_names=names))
    try:
        with pytest.raises(DataError, match=words):
            load("mine")
    finally:
        DATA._entries.pop("mine")
