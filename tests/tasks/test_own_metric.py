"""A metric of a user's own: of a whole split, in the targets' own units, beside those of the task."""

import pytest
import torch

from unlocked import load_config, register_metric
from unlocked.config import from_tree, to_dict
from unlocked.data import DataSet, Split
from unlocked.errors import ConfigError, RunFailed
from unlocked.metrics import higher_is_better, is_known
from unlocked.tasks import METRICS, TASKS
from unlocked.tasks.chosen import measured
from unlocked.tracking import flatten
from unlocked.tracking.identity import config_hash


@pytest.fixture(autouse=True)
def own():
    @register_metric("within_t", of=("classes", "values"), higher_is_better=True)
    def within(outputs, targets, tolerance: float = 1.0):
        outputs = outputs.argmax(1) if targets.dim() == 1 else outputs
        return ((outputs - targets).abs() <= tolerance).double().mean()

    yield
    del METRICS._entries["within_t"], METRICS._facts["within_t"]


def asked(task, outputs, y, *entries):
    split = Split(torch.zeros(len(y), 1), y)
    data = DataSet("made", task, (1,), outputs.shape[1], [], split, None, split)
    return measured(TASKS.get(task)(), outputs, data, "test", entries)


def test_it_is_what_the_function_gives_of_the_whole_split():
    y = torch.tensor([[0.0], [1.0], [5.0], [2.0]])
    outputs = torch.tensor([[0.5], [3.0], [5.0], [9.0]])
    assert asked("regression", outputs, y, "within_t")["within_t"] == 0.5
    assert asked("regression", outputs, y, {"name": "within_t", "tolerance": 2.0}, "mse")["within_t"] == 0.75


def test_its_direction_is_known_to_tables_and_studies():
    assert is_known("val/within_t")
    assert higher_is_better("test/within_t")


def test_it_changes_no_number_of_a_run_and_its_options_are_kept():
    plain = load_config("quickstart", [])
    config = load_config("quickstart", ["metrics=[f1,{name: within_t, tolerance: 2}]"])
    assert config.metrics == ["f1", {"name": "within_t", "tolerance": 2.0}]
    assert from_tree(to_dict(config)) == config
    assert config_hash(flatten(to_dict(plain)), {}) == config_hash(flatten(to_dict(config)), {})


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ("[witin_t]", "metrics[0]: unknown metric of classification 'witin_t'; did you mean 'within_t'?"),
        ("[{name: within_t, tolerence: 2}]", "metrics[0].tolerence: unknown option of within_t 'tolerence'; did you"),
        ("[f1,{name: within_t, tolerance: wide}]", "metrics[1].tolerance: 'wide' is not of type float"),
        ("[{name: f1, average: micro}]", "metrics[0].average: f1 has no options"),
        ("[{tolerance: 2}]", "metrics[0]: {'tolerance': 2} is not a name such as within, or a name and options: {name"),
        ("[within_t,{name: within_t, tolerance: 2}]", "metrics[1]: within_t is there already, and a run logs one"),
    ],
)
def test_what_cannot_be_is_one_line(entries, line):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", [f"metrics={entries}"])
    assert str(error.value).startswith(line)


def test_one_of_another_kind_of_outputs_says_of_which():
    with pytest.raises(ConfigError, match=r"'within_t' .*; within_t is of classes and values$"):
        load_config("quickstart", ["task=multi_label", "metrics=[within_t]"])


def test_one_that_fails_or_gives_no_number_is_one_line():
    @register_metric("fails_t", of="values", higher_is_better=False)
    def fails(outputs, targets):
        return outputs @ targets

    @register_metric("many_t", of="values", higher_is_better=False)
    def many(outputs, targets):
        return (outputs - targets).abs()

    y = torch.zeros(4, 1)
    with pytest.raises(RunFailed, match=r"^metrics\[1\]: fails_t failed at .*test_own_metric.py:\d+: RuntimeError: .*"):
        asked("regression", y, y, "mse", "fails_t")
    with pytest.raises(RunFailed, match=r"^metrics\[0\]: many_t \(.*:\d+\) gives a tensor of shape \(4, 1\), not one"):
        asked("regression", y, y, "many_t")
    register_metric("vast_t", of="values", higher_is_better=True)(lambda outputs, targets: 10**400)
    with pytest.raises(RunFailed, match=r"^metrics\[0\]: vast_t \(.*:\d+\) gives a int, not one number"):
        asked("regression", y, y, "vast_t")
    for name in ("fails_t", "many_t", "vast_t"):
        del METRICS._entries[name], METRICS._facts[name]


def test_a_name_that_is_taken_is_not_registered():
    with pytest.raises(ValueError, match="metric 'f1': is the name of a metric already"):
        register_metric("f1", of="classes", higher_is_better=True)(lambda outputs, targets: 0.0)
