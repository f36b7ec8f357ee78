from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unlocked.data import Split
from unlocked.data.digest import digest


def test_the_digest_is_a_function_of_the_examples(lab):
    assert digest(lab.data()) == digest(lab.data())
    assert len({digest(lab.data()), digest(lab.data(seed=1)), digest(lab.stream())}) == 3


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("part", ["x", "y"])
def test_one_number_of_one_split_changes_it(lab, split, part):
    data = lab.data()
    given = getattr(data, split)
    changed = {"x": given.x.clone(), "y": given.y.clone()}
    changed[part][-1] += 1
    assert digest(replace(data, **{split: Split(**changed)})) != digest(data)


def test_the_order_of_rows_and_the_validation_split_count(lab):
    data = lab.data()
    turned = Split(data.train.x.flip(0), data.train.y.flip(0))
    assert digest(replace(data, train=turned)) != digest(data)
    assert digest(replace(data, validation=data.test)) != digest(data)


def test_every_type_of_number_is_read(lab):
    data = lab.data()
    for dtype in (torch.float64, torch.bfloat16):
        assert digest(data.to(dtype=dtype)) != digest(data)
