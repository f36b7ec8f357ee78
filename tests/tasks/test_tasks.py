"""Tasks: shapes, losses and metrics against their definitions."""

import ast
import inspect
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

import unlocked
import unlocked_models
from unlocked.data import Split
from unlocked.tasks import TASKS, BernoulliReconstruction, LanguageModelling, Reconstruction, Regression
from unlocked_models import Batch, Example

TEXT = Example((3,), 5, vocabulary=5, y_shape=(3,))


def test_a_regression_is_scored_in_its_own_units():
    task, y = Regression(), torch.tensor([[1.0], [2.0], [4.0]])
    out = y + torch.tensor([[0.5], [-0.5], [1.0]])
    assert task.loss(out, y) == pytest.approx((0.25 + 0.25 + 1.0) / 3)
    metrics = task.metrics(out, y)
    assert metrics["rmse"] == pytest.approx(math.sqrt(0.5))
    assert metrics["mae"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(0.5)
    assert metrics["r2"] == pytest.approx(1 - 1.5 / float(((y - y.mean()) ** 2).sum()))
    assert task.output_shape(Example((4,), 2, y_shape=(2,), y_real=True)) == (2,)


def test_a_language_model_is_scored_on_tokens_and_not_on_padding():
    task = LanguageModelling()
    y = torch.tensor([[1, 2, 0], [3, 0, 0]])
    out = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    nats = [-float(out[i, t].log_softmax(-1)[y[i, t]]) for i, t in ((0, 0), (0, 1), (1, 0))]
    assert task.loss(out, y) == pytest.approx(sum(nats) / 3, rel=1e-6)
    metrics = task.metrics(task.keep(out, y), y)
    assert metrics["loss"] == pytest.approx(sum(nats) / 3, rel=1e-6)
    assert metrics["bits"] == pytest.approx(metrics["loss"] / math.log(2))
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
    hits = [bool(out[i, t].argmax() == y[i, t]) for i, t in ((0, 0), (0, 1), (1, 0))]
    assert metrics["accuracy"] == pytest.approx(sum(hits) / 3)
    assert task.output_shape(TEXT) == (3, 5)
    assert task.terms(TEXT) == 3


def test_a_minibatch_of_padding_alone_costs_nothing():
    out = torch.randn(2, 3, 5, requires_grad=True)
    loss = LanguageModelling().loss(out, torch.zeros(2, 3, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert torch.equal(out.grad, torch.zeros_like(out))


def test_a_reconstruction_is_held_against_its_own_input():
    task, x = Reconstruction(), torch.randn(4, 1, 3, 3)
    batch = Batch(x, torch.zeros(4, dtype=torch.long))
    assert task.target(batch) is x
    assert task.target(Split(x, batch.y)) is x
    out = x + 0.5
    assert task.loss(out, x) == pytest.approx(9 * 0.25, rel=1e-5)  # summed over features, a mean over examples
    metrics = task.metrics(task.keep(out, x), x)
    assert metrics["loss"] == pytest.approx(9 * 0.25, rel=1e-5)
    assert metrics["mse"] == pytest.approx(0.25, rel=1e-5)
    assert task.output_shape(Example((1, 3, 3), 10)) == (1, 3, 3)


def test_what_conditions_a_synthetic_gradient_is_the_target():
    like = torch.zeros(2, dtype=torch.float64)
    example = Example((4,), 3)
    labels = Batch(None, torch.tensor([2, 0]))
    given = TASKS.get("classification")().context(labels, example, like)
    assert torch.equal(given, one_hot(labels.y, 3).double())
    values = Batch(None, torch.tensor([[0.5], [1.5]]))
    assert torch.equal(Regression().context(values, example, like), values.y.double())
    ids = Batch(None, torch.tensor([[1, 2, 0]]))
    assert torch.equal(LanguageModelling().context(ids, TEXT, like), ids.y)
    assert LanguageModelling().context_shape(TEXT) == (3,)
    x = Batch(torch.randn(2, 1, 3, 3), labels.y)
    assert Reconstruction().context(x, Example((1, 3, 3), 10), like).dtype == torch.float64


def test_tasks_say_which_data_they_can_be_made_of():
    assert Reconstruction.misfit("classification", Example((4,), 3)) is None
    assert "ids" in Reconstruction.misfit("language_modelling", TEXT)
    assert Regression.misfit("classification", Example((4,), 3)) == "its targets are for classification"
    assert LanguageModelling.misfit("language_modelling", TEXT) is None


def test_a_bernoulli_reconstruction_is_a_likelihood_of_values_between_0_and_1():
    task = BernoulliReconstruction()
    generator = torch.Generator().manual_seed(0)
    logits, x = torch.randn(4, 1, 3, 3, generator=generator), torch.rand(4, 1, 3, 3, generator=generator)
    p = logits.sigmoid()
    nats = -(x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3)).mean()
    torch.testing.assert_close(task.loss(logits, x), nats)
    metrics = task.metrics(task.keep(logits, x), x)
    assert metrics["loss"] == pytest.approx(nats.item(), rel=1e-6)
    assert metrics["mse"] == pytest.approx((p - x).square().mean().item(), rel=1e-6)
    assert torch.equal(task.picture(logits), p)
    assert task.unsuited(x) is None
    assert task.unsuited(x - 0.5) == f"its inputs lie in [{(x - 0.5).min():.3g}, {(x - 0.5).max():.3g}], not in [0, 1]"


A_WORD = "control"  # also of the run that must lose
SOURCES = [*Path(unlocked.__file__).parent.rglob("*.py"), *Path(unlocked_models.__file__).parent.rglob("*.py")]


def names_said(path):
    """Texts of a file that are a task's name; a key of a mapping is none, nor is the family of a model or a name that a
    package exports."""
    tree = ast.parse(path.read_text())
    other = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            other.add(id(node.slice))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "DataSet":
            other |= {id(word.value) for word in node.keywords if word.arg == "task"}
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "refuses":  # families
            other |= {id(key) for key in getattr(node.value, "keys", [])}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "register_model":
            other |= {id(word.value) for word in node.keywords if word.arg == "family"}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            other |= {id(name) for name in ast.walk(node.value)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in list(TASKS) and id(node) not in other
    }


def test_the_name_of_a_task_stands_in_its_own_file_alone():
    homes = {name: Path(inspect.getfile(TASKS.get(name))) for name in TASKS}
    elsewhere = {
        (name, path.name)
        for path in SOURCES
        if "data" not in path.parts  # a data set says its task, and a table finds it out
        for name in names_said(path) - {A_WORD}
        if homes[name] != path
    }
    assert elsewhere == set()
