"""Arguments of `RawData` of a wrong type, each refused in one line."""

import numpy as np
import pytest

from unlocked.data.dataset import RawData
from unlocked.data.loading.checks import checked_splits
from unlocked.errors import DataError
from unlocked.tasks import Regression

X, Y = np.zeros((4, 3)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"class_names": 3},
        {"class_names": "ab"},
        {"normalise": 3},
        {"normalise": (1, 2, 3)},
        {"normalise": ("a", "b")},
        {"stretch": "5", "ordered": True},
        {"stretch": 2.5},
        {"stretch": -5},
        {"stretch": 0},
        {"ordered": "no"},
        {"symbols": 3},
        {"symbols": [None, 1, 2.5]},
        {"transforms": "flip"},
        {"tokenizer": "{bad json"},
        {"tokenizer": 3},
    ],
)
def test_an_argument_of_a_wrong_type_is_named(wrong):
    (key, *_) = wrong
    with pytest.raises(DataError, match=f"^data 'mine': {key} ") as refused:
        checked_splits("mine", RawData(X, Y, **wrong))
    assert "\n" not in str(refused.value)


def test_targets_beyond_float32_are_refused():
    raw = RawData(X, Y * 1e300)
    with pytest.raises(DataError, match="y_train has values that do not fit float32"):
        Regression().check("mine", raw, checked_splits("mine", raw))
