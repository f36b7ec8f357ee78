"""Associative memories: the data, the task and the scheme `hebbian` together, and what each of them refuses."""

import numpy as np
import pytest
import torch

from unlocked import load_config, train
from unlocked.data import RawData
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import load
from unlocked.tasks.pattern_recall import PatternRecall
from unlocked_models.associative import AssociativeMemory, stored

PRESET = "memory/hopfield_classic"


def planned(preset, words):
    config = load_config(preset, words)
    return make_plan(config, load_data(config))


def test_patterns_are_examples_and_the_splits_disturbed_copies_of_them():
    data = load("patterns", of="digits", number=4, flip=0.25, copies=3, seed=1, validation=0.1)
    clean = data.train.x.flatten(1)
    assert clean.unique().tolist() == [0, 1]
    assert torch.equal(data.train.y, clean)
    for split in (data.test, data.validation):
        assert torch.equal(split.y, clean.repeat_interleave(3, 0))
        turned = split.x.flatten(1) != split.y
        assert (turned.sum(1) == 16).all()
        assert not torch.equal(turned[0], turned[1])
    assert not torch.equal(data.test.x, data.validation.x)
    assert not torch.equal(load("patterns", of="digits", number=4, seed=2).train.x, data.train.x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flip": 0.6}, "data.options.flip: must be from 0 to 0.5"),
        ({"number": 0}, "data.options.number: must be from 1 to"),
        ({"of": "digits", "number": 9000}, "data.options.number: 9000 patterns are more than the 1797 examples of"),
        ({"of": "digit"}, "data.options.of: unknown data 'digit'; did you mean 'digits'"),
        ({"of": "python_manual"}, "data.options.of: inputs of python_manual are not numbers"),
        ({"of": "digits", "options": {"sides": 4}}, "data.options.options.sides"),
    ],
)
def test_wrong_patterns_are_one_line(options, said):
    with pytest.raises(DataError, match=said):
        load("patterns", **options)


def test_data_of_another_kind_are_refused():
    x = np.zeros((4, 3), np.float32)
    with pytest.raises(DataError, match="y_train is of shape"):
        PatternRecall().check("own", RawData(x, x[:, :2]), {"train": (x, x[:, :2], None)})
    with pytest.raises(DataError, match="x_train is not all 0 or 1"):
        PatternRecall().check("own", RawData(x + 0.5, x), {"train": (x + 0.5, x, None)})


def test_metrics_are_those_of_units_of_two_signs():
    y = torch.zeros(2, 40)
    states = y.clone()
    states[0, 0] = 1  # overlap (39 - 1) / 40 = 0.95
    states[1, :2] = 1
    assert PatternRecall().metrics(states, y) == pytest.approx({"loss": 0.075, "overlap": 0.925, "recalled": 0.5})
    assert float(PatternRecall().loss(states, y)) == pytest.approx(0.075)


def test_nothing_is_left_to_search_before_anything_is_stored():
    """So schemes that try weights and compare losses refuse the family."""
    train = load("patterns", of="digits", number=10).train
    assert float(PatternRecall().loss(AssociativeMemory(64, 5)(train.x), train.y)) == 0


@pytest.mark.parametrize("rule", ["hebb", "storkey", "projection"])
def test_a_run_stores_every_pattern_once_by_its_rule(lab, rule):
    group, _ = lab.whole(PRESET, f"scheme.hebbian.rule={rule}", "data.options.number=7")
    (block,) = group.modules[0].learner.chain
    x = group.modules[0].batches
    order = torch.stack([x.x(t)[0].flatten() for t in range(7)]).double() * 2 - 1  # storkey's rule follows it
    assert len(order.unique(dim=0)) == 7
    torch.testing.assert_close(block.weight.detach().double(), stored(order, rule), rtol=0, atol=1e-6)


def test_recall_is_tracked_and_drawn(tmp_path):
    summary = train(load_config(PRESET, ["tracking.uri=off", f"tracking.runs={tmp_path}", "seed=1"]))
    metrics = summary["metrics"]
    assert metrics["test/recalled"] == metrics["test/overlap"] == 1
    assert (tmp_path / summary["run"] / "figures" / "recalled.png").exists()
    rested = train(load_config(PRESET, ["tracking.uri=off", f"tracking.runs={tmp_path}", "scheme.hebbian.rule=hebb"]))
    assert rested["metrics"]["test/overlap"] < 0.9  # digits are too alike for it


@pytest.mark.parametrize(
    ("preset", "words", "said"),
    [
        (PRESET, ["scheme.name=backprop"], "backprop cannot train the associative family: what it recalls is a state"),
        (PRESET, ["scheme.name=dfa"], "dfa cannot train the associative family"),
        (
            PRESET,
            ["scheme.name=weight_search"],
            "weight_search cannot train the associative family: a pattern is stored",
        ),
        (PRESET, ["scheme.name=annealing"], "annealing cannot train the associative family: a pattern is stored"),
        (PRESET, ["scheme.name=evolution"], "evolution cannot train the associative family: a pattern is stored"),
        (PRESET, ["scheme.name=cd"], "cd cannot train the associative family"),
        ("quickstart", ["scheme.name=hebbian"], "hebbian cannot train the mlp family: it strengthens a weight between"),
        (PRESET, ["train.epochs=2"], "train.epochs: 2, but hebbian stores every pattern once; set train.epochs=1"),
        (PRESET, ["train.steps=11"], "train.steps: 11 steps see examples again after 10, but hebbian stores every"),
        (PRESET, ["data.batch_size=4"], "data.batch_size: 4 leaves out 2 of the 10 examples, but hebbian stores every"),
        (PRESET, ["train.average=0.9"], "train.average: hebbian adds"),
        (PRESET, ["scheme.hebbian.rule=heb"], "scheme.hebbian.rule: unknown rule 'heb'; did you mean 'hebb'"),
        (
            PRESET,
            ["parallel={replicas: 2, engine: auto}", "data.batch_size=2"],
            "parallel.replicas: 2, but a pattern is stored into",
        ),
        ("quickstart", ["task=pattern_recall"], "task: pattern_recall"),
        (
            "quickstart",
            ["data={name: patterns, batch_size: 5}"],
            "mlp gives no states of 0 and 1; pattern_recall needs an associative memory",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(preset, words, said):
    with pytest.raises(ConfigError, match=said):
        planned(preset, words)
