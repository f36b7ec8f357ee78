"""`data.examples`: a few of the training examples, class by class; the other splits stay as they are."""

from __future__ import annotations

import pytest
import torch

from unlocked.errors import DataError
from unlocked.tasks import load


def test_a_few_of_each_class_are_kept_and_the_same_are_tested():
    whole, few = (load("digits", validation=0.2, seed=3, examples=n) for n in (None, 100))
    assert few.train.y.bincount().tolist() == [10] * 10
    assert torch.equal(few.test.x, whole.test.x)
    assert torch.equal(few.validation.x, whole.validation.x)
    known = {tuple(x.flatten().tolist()) for x in whole.train.x}
    assert all(tuple(x.flatten().tolist()) in known for x in few.train.x)
    assert torch.equal(load("digits", validation=0.2, seed=3, examples=100).train.x, few.train.x)
    assert not torch.equal(load("digits", validation=0.2, seed=4, examples=100).train.x, few.train.x)


def test_an_ordered_set_keeps_its_first():
    whole, few = (load("sunspots", examples=n) for n in (None, 20))
    assert torch.equal(few.train.x, whole.train.x[:20])


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (2000, "data.examples: 2000 is more than the 1437 training examples of digits"),
        (7, "data.examples: 7 of 1437 cannot be drawn class by class: digits has 10 classes, and each needs one"),
    ],
)
def test_more_than_there_are_and_less_than_one_of_a_class_are_one_line(examples, message):
    with pytest.raises(DataError, match=message):
        load("digits", examples=examples)


def test_all_of_them_are_all():
    assert torch.equal(load("digits", examples=1437).train.x, load("digits").train.x)
