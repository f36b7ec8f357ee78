"""Losses by name against their equations, by hand and in float64; weights of examples and classes."""

import math

import pytest
import torch
from torch.nn import functional as F

from unlocked.errors import ConfigError
from unlocked.schemes.objective import OfTask
from unlocked.tasks import TASKS, Classification, Regression
from unlocked.tasks.losses import CLASS_LOSSES, VALUE_LOSSES, ClassLoss, LabelLoss, value_loss
from unlocked_models import Batch, Example

Z = [[0.3, -1.2, 2.0], [1.5, 0.4, -0.7]]
Y = [2, 1]
z, y = torch.tensor(Z, dtype=torch.float64), torch.tensor(Y)


def softmax(row):
    total = sum(math.exp(a) for a in row)
    return [math.exp(a) / total for a in row]


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def huber(d):
    return d * d / 2 if abs(d) <= 1 else abs(d) - 0.5


BY_HAND = {
    "cross_entropy": lambda row, c: -math.log(softmax(row)[c]),
    "kl": lambda row, c: -math.log(softmax(row)[c]),  # the entropy of a class is 0
    "nll": lambda row, c: -row[c],
    "focal": lambda row, c: -((1 - softmax(row)[c]) ** 2) * math.log(softmax(row)[c]),
    "binary_cross_entropy": lambda row, c: (
        -sum(math.log(sigmoid(a) if i == c else 1 - sigmoid(a)) for i, a in enumerate(row)) / 3
    ),
    "hinge": lambda row, c: sum(max(0, 1 - a if i == c else 1 + a) for i, a in enumerate(row)) / 3,
    "max_margin": lambda row, c: sum(max(0, 1 - row[c] + a) for i, a in enumerate(row) if i != c) / 3,
    "perceptron": lambda row, c: max(0, max(a for i, a in enumerate(row) if i != c) - row[c]),
    "mse": lambda row, c: sum((a - (i == c)) ** 2 for i, a in enumerate(row)) / 3,
    "mae": lambda row, c: sum(abs(a - (i == c)) for i, a in enumerate(row)) / 3,
    "huber": lambda row, c: sum(huber(a - (i == c)) for i, a in enumerate(row)) / 3,
}


@pytest.mark.parametrize("name", list(CLASS_LOSSES))
def test_a_loss_of_classes_is_its_equation_of_every_example(name):
    expected = torch.tensor([BY_HAND[name](row, c) for row, c in zip(Z, Y, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(ClassLoss(name)(z, y), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ClassLoss(name)(z, F.one_hot(y, 3).double()), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(Classification(name).loss(z, y), expected.mean(), rtol=1e-12, atol=1e-12)
    assert Classification(name).metrics(z, y)["loss"] == pytest.approx(float(expected.mean()), rel=1e-12)


def test_losses_are_those_of_torch():
    torch.testing.assert_close(ClassLoss("max_margin")(z, y).mean(), F.multi_margin_loss(z, y))
    smoothed = ClassLoss("cross_entropy", smoothing=0.2)
    torch.testing.assert_close(smoothed(z, y).mean(), F.cross_entropy(z, y, label_smoothing=0.2))
    p = 0.8 * F.one_hot(y, 3).double() + 0.2 / 3
    kl = F.kl_div(z.log_softmax(1), p, reduction="batchmean")
    torch.testing.assert_close(ClassLoss("kl", smoothing=0.2)(z, y).mean(), kl)


def test_a_mixed_example_is_the_mixture_of_its_classes():
    mixed = torch.tensor([[0.3, 0.0, 0.7]], dtype=torch.float64)
    for name in ("cross_entropy", "nll", "focal", "max_margin"):
        loss = ClassLoss(name)
        one, other = (loss(z[:1], torch.tensor([c])) for c in (0, 2))
        torch.testing.assert_close(loss(z[:1], mixed), 0.3 * one + 0.7 * other)


def test_weights_of_classes_and_of_examples_multiply():
    plain = ClassLoss()(z, y)
    task = Classification(class_weights=[1.0, 2.0, 0.5])
    torch.testing.assert_close(task.each(z, y), plain * torch.tensor([0.5, 2.0], dtype=torch.float64))
    batch = Batch(None, y, extras={"weight": torch.tensor([3.0, 1.0])})
    loss, e = OfTask(Classification())(z, batch)
    torch.testing.assert_close(loss, (3 * plain[0] + plain[1]) / 2)
    torch.testing.assert_close(e[0], 3 * (z[0].softmax(0) - F.one_hot(y[0], 3)) / 2)
    halves = [Batch(None, y[i : i + 1], extras={"weight": batch["weight"][i : i + 1]}, whole=y) for i in (0, 1)]
    parts = [OfTask(Classification())(z[i : i + 1], part)[0] for i, part in enumerate(halves)]
    torch.testing.assert_close(torch.stack(parts).mean(), loss)


@pytest.mark.parametrize("name", list(VALUE_LOSSES))
def test_a_loss_of_values_is_its_equation(name):
    target = torch.tensor([[0.0, 1.0, 0.5], [1.0, -2.0, 0.0]], dtype=torch.float64)
    by_hand = {"mse": lambda d: d * d, "mae": abs, "huber": lambda d: huber(d / 0.5) * 0.25}[name]
    expected = [
        sum(by_hand(a - b) for a, b in zip(*rows, strict=True)) / 3 for rows in zip(Z, target.tolist(), strict=True)
    ]
    torch.testing.assert_close(value_loss(name, 0.5)(z, target), torch.tensor(expected, dtype=torch.float64))
    task = Regression(name, delta=0.5)
    assert float(task.loss(z, target)) == pytest.approx(sum(expected) / 2, rel=1e-12)
    assert task.metrics(z, target)["loss"] == pytest.approx(sum(expected) / 2, rel=1e-12)


def test_a_loss_of_labels_is_its_equation():
    t = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.float64)
    q = z.sigmoid()
    nats = -(t * q.log() + (1 - t) * (1 - q).log())
    torch.testing.assert_close(LabelLoss()(z, t), nats.mean(1))
    weighed = -(3 * t * q.log() + (1 - t) * (1 - q).log())
    torch.testing.assert_close(LabelLoss(positive_weight=3)(z, t), weighed.mean(1))
    right = torch.where(t > 0, q, 1 - q)
    torch.testing.assert_close(LabelLoss("focal", gamma=1.5)(z, t), ((1 - right) ** 1.5 * nats).mean(1))
    torch.testing.assert_close(LabelLoss("hinge")(z, t), (1 - (2 * t - 1) * z).clamp(min=0).mean(1))


@pytest.mark.parametrize(
    ("task", "options", "line"),
    [
        ("classification", {"loss": "foccal"}, "objective.loss: unknown loss 'foccal'; did you mean 'focal'? (known: "),
        ("regression", {"loss": "hubber"}, "objective.loss: unknown loss 'hubber'; did you mean 'huber'?"),
        ("regression", {"loss": "huber", "delta": 0.0}, "objective.delta: must be greater than 0 and finite, got 0.0"),
        ("classification", {"smoothing": 1.0}, "objective.smoothing: must be at least 0 and less than 1, got 1.0"),
        ("classification", {"loss": "hinge", "smoothing": 0.1}, "objective.smoothing: hinge has no distribution"),
        (
            "multi_label",
            {"loss": "focal", "positive_weight": 2.0},
            "objective.positive_weight: is of binary_cross_entr",
        ),
    ],
)
def test_what_no_loss_can_be_is_one_line(task, options, line):
    with pytest.raises(ConfigError) as error:
        TASKS.get(task)(**options)
    assert str(error.value).startswith(line)


def test_as_many_weights_as_classes():
    with pytest.raises(ConfigError, match=r"^objective.class_weights: 2 weights, but the data has 3 classes$"):
        Classification(class_weights=[1.0, 2.0]).output_shape(Example((4,), 3))
