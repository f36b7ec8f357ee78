"""The mean over the folds of a cross validation."""

from unlocked.cli.folds import over_folds
from unlocked.comparing.rows import Row


def row(accuracy, **group):
    return Row(group, {"0": {"test/accuracy": accuracy, "val/accuracy": 0.5}})


def test_each_configuration_has_the_mean_of_its_folds():
    rows = [row(0.9, fold="0", scheme="dfa"), row(0.8, fold="1", scheme="dfa"), row(0.6, fold="0", scheme="dni")]
    assert over_folds(rows, ["val/accuracy"]) == ["scheme dfa over 2 folds: test/accuracy 0.8500 (0.8000 to 0.9000)"]


def test_a_study_without_folds_says_nothing():
    assert over_folds([row(0.9, scheme="dfa"), row(0.8, scheme="dni")], ["val/accuracy"]) == []
